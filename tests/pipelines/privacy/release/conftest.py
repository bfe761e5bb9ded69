"""Two weeks of trips of synthetic riders between four zones, a spec that releases them, and a budget for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Policy
from pipelines.spec import Spec, parse_spec

ZONES = ("a", "b", "c", "d")
SPEC: dict[str, Any] = {
    "name": "riders",
    "data": {
        "kind": "trips",
        "files": "trips*.csv",
        "interval": "1h",
        "timezone": "UTC",
        "start": "2024-03-04",
        "end": "2024-03-18",
        "columns": {"start": "begin", "end": "finish", "source": "from", "target": "to"},
        "zones": {"file": "zones.csv", "id": "zone"},
    },
    "task": {"window": 24, "horizon": 2, "split": {"validation": 48, "test": 48}},
    "model": {"name": "gru", "hidden": 4},
    "training": {"epochs": 1},
    "evaluation": {"baselines": []},
    "privacy": {
        "mechanism": "release",
        "unit": "user_day",
        "epsilon": 2.0,
        "person": "rider",
        "trips_per_unit": 4,
        "trips_per_cell": 2,
    },
}
Make = Callable[..., Spec]
Grant = Callable[..., Ledger]


def trips(first: int, days: int) -> pl.DataFrame:
    """Zipf-distributed trips of 60 riders in so many days from the `first` on, a few beyond midnight; none to "d"."""
    draw = np.random.default_rng(first)
    count = 400 * days
    hours = (np.sort(draw.integers(0, 24 * days, count)) + 24 * first).astype("timedelta64[h]")
    long = draw.integers(1, 90, count).astype("timedelta64[m]")
    begin = np.datetime64("2024-03-04", "us") + hours
    return pl.DataFrame(
        {
            "rider": np.minimum(draw.zipf(1.4, count), 60),
            "from": draw.choice(ZONES[:3], count),
            "to": draw.choice(ZONES[:3], count),
            "begin": begin,
            "finish": begin + long,
        }
    )


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    monkeypatch.delenv("FLOCKCAST_LEDGER", raising=False)
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the spec, the trips of two weeks and the table of zones lie."""
    trips(0, 14).write_csv(tmp_path / "trips1.csv")
    (tmp_path / "zones.csv").write_text("\n".join(["zone", *ZONES, ""]))
    return tmp_path


@pytest.fixture
def make(folder: Path) -> Make:
    """The spec with these keys of its tables changed; None takes a key out."""

    def made(*, data: dict | None = None, privacy: dict | None = None, **tables: dict) -> Spec:
        raw = dict(SPEC)
        for table, keys in {"data": data or {}, "privacy": privacy or {}, **tables}.items():
            merged = {**SPEC[table], **keys}
            raw[table] = {key: value for key, value in merged.items() if value is not None}
        return parse_spec(raw, folder=folder)

    return made


@pytest.fixture
def grant(home: Path) -> Grant:
    """Gives a budget that admits one release of epsilon 2 with geometric noise, and the ledger that has it."""

    def granted(
        *, data_set: str = "riders", unit: Any = "user_day", epsilon: float = 2.01, order: float = 1024, **more: Any
    ) -> Ledger:
        ledger = Ledger.open()
        policy = Policy("default", data_set, unit, epsilon=epsilon, delta=1e-6, order=order, **more)
        ledger.grant(policy, actor="owner", reason="a test")
        return ledger

    return granted


@pytest.fixture
def more_trips(folder: Path) -> Callable[[int, int], None]:
    """Adds a file with the trips of later days."""
    return lambda first, days: trips(first, days).write_csv(folder / f"trips{first}.csv")
