"""A home of the tests' own, and one tiny experiment that went the whole road, for whoever needs a trained model."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.settings import apply_environment

if TYPE_CHECKING:
    from data.dataset import DataSet
    from pipelines.experiment import Trained
    from pipelines.privacy.claim import Protection
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


@pytest.fixture(scope="session")
def released() -> "Protection":
    """Of a release: a day of a person."""
    from pipelines.privacy.claim import Claim, Protection
    from pipelines.privacy.mechanisms import GaussianRelease

    mechanism = GaussianRelease(sensitivity=6.9282, scale=29.3)
    claim = Claim(
        "user_day",
        "add or remove",
        0.9987,
        1e-6,
        "PLD 1.0",
        mechanism,
        assumptions=("a person is in one zone at a time",),
    )
    return Protection(claim, 7, "ab" * 32, "release-1", "released_input")


@pytest.fixture(scope="session")
def dp_sgd() -> "Protection":
    """Of a private training: a window."""
    from pipelines.privacy.claim import Claim, Protection
    from pipelines.privacy.mechanisms import PrivateTraining

    mechanism = PrivateTraining(noise_multiplier=4.0, sample_rate=0.082, steps=486, max_grad_norm=0.1)
    claim = Claim("window", "zero out", 2.101, 1e-6, "PLD 1.0", mechanism)
    return Protection(claim, 9, "cd" * 32, "training-1", "raw_input_internal")


@pytest.fixture
def private(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Callable[[Protection], Tiny]":
    """Register the tiny model, in a home of the test's own, as one that learnt from a release or by DP-SGD."""
    from data import store
    from data.dataset import Release
    from pipelines.register import register
    from pipelines.registry import promote
    from pipelines.settings import datasets

    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(datasets(), home / "datasets")
    shutil.copy(tiny.home / "mlflow.db", home / "mlflow.db")
    monkeypatch.setenv("FLOCKCAST_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")

    def make(protection: "Protection") -> Tiny:
        is_release = protection.serving == "released_input"
        release = Release(protection.to_json(), {"y": 1.5}, {"2024-03-01": 1}, ["release-1"]) if is_release else None
        dataset = replace(tiny.dataset, manifest=replace(tiny.dataset.manifest, release=release))
        store.save(dataset, datasets())
        monkeypatch.setattr("pipelines.register.protection_of", lambda _: protection)
        registered = register(tiny.spec, dataset, tiny.trained.prepared, tiny.trained.evaluated)
        promote("tiny", registered.version)
        return replace(tiny, home=home, dataset=dataset, registered=registered)

    return make


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
