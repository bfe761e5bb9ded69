"""A home of the tests' own, and one tiny experiment that went the whole road, for whoever needs a trained model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.settings import apply_environment

if TYPE_CHECKING:
    from data.dataset import DataSet
    from pipelines.experiment import Trained
    from pipelines.results import Registered
    from pipelines.spec import Spec

apply_environment()  # before MLflow, Prefect or torch are imported by a test

TINY = """
name = "tiny"

[data]
kind = "long"
files = "counts.csv"
timezone = "Europe/Oslo"
interval = "1h"
values = "counts"

[task]
window = 24
horizon = 6

[model]
name = "gru"
hidden = 8

[training]
epochs = 2

[evaluation]
baselines = ["naive", "ridge"]
"""


@dataclass(frozen=True)
class Tiny:
    spec_path: Path
    home: Path
    spec: "Spec"
    dataset: "DataSet"
    trained: "Trained"
    registered: "Registered"


def pytest_configure(config: pytest.Config) -> None:
    """Warnings of libraries about themselves."""
    config.addinivalue_line("filterwarnings", "ignore:Using .httpx. with .starlette.testclient. is deprecated")
    config.addinivalue_line("filterwarnings", "ignore::UserWarning:mlflow")
    config.addinivalue_line("filterwarnings", "ignore::FutureWarning:mlflow")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes what a user keeps."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOCKCAST_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("FLOCKCAST_LEDGER", raising=False)
        patch.setenv("FLOCKCAST_LEDGER_MODE", "test")  # or nobody could test code before it is committed
        yield folder


@pytest.fixture(scope="session")
def tiny(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Three series of hourly counts over 20 days, ingested, trained and registered. Leave its registry as it is."""
    from pipelines.experiment import enrol, train
    from pipelines.ingest import ingest
    from pipelines.spec import load_spec

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY)
    write_counts(folder / "counts.csv")
    spec = load_spec(folder / "tiny.toml")
    dataset = ingest(spec, say=lambda line: None)
    trained = train(spec, dataset, say=lambda line: None)
    registered, _ = enrol(spec, dataset, trained, say=lambda line: None)
    return Tiny(folder / "tiny.toml", home, spec, dataset, trained, registered)


def write_counts(file: Path) -> None:
    """A daily wave with noise for `east`, `north` and `west`, in local time, in long format."""
    import numpy as np
    import pandas as pd

    clock = pd.date_range("2024-03-01", periods=20 * 24, freq="h")
    wave = 5 * np.sin(2 * np.pi * np.arange(len(clock)) / 24)
    noise = np.random.default_rng(0)
    series = [
        pd.DataFrame({"unique_id": node, "ds": clock, "y": noise.poisson(level + wave)})
        for node, level in {"east": 10, "north": 14, "west": 18}.items()
    ]
    pd.concat(series).to_csv(file, index=False)
