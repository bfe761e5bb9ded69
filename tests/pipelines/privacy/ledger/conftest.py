"""A ledger of a test's own, in a home of its own, and requests to make of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.privacy.ledger import Charge, Ledger, Policy
from pipelines.privacy.mechanisms import GaussianRelease, PrivateTraining

DAYS = tuple(f"2023-01-{day:02d}" for day in range(1, 11))
RELEASE = GaussianRelease(sensitivity=4.0, scale=20.0)
TRAINING = PrivateTraining(noise_multiplier=4.0, sample_rate=0.02, steps=400, max_grad_norm=1.0)
COMMITTED = "3f1c0de" * 5


class Hands:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = datetime(2026, 5, 4, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time


def make_policy(**changed: Any) -> Policy:
    given = {"tenant": "city", "data_set": "bikes", "unit": "user_day", "epsilon": 2.0, "delta": 1e-6, "order": 12.0}
    return Policy(**{**given, **changed})


def make_charge(run_id: str, **changed: Any) -> Charge:
    given = {
        "tenant": "city",
        "data_set": "bikes",
        "data_set_version": "v1",
        "sources": ("a" * 64,),
        "blocks": DAYS,
        "unit": "user_day",
        "relation": "add or remove",
        "mechanism": RELEASE,
        "delta": 1e-6,
        "config_hash": "c0ffee",
        "code_revision": COMMITTED,
        "contribution_bound": {"trips": "16"},
        "output_kind": "counts",
    }
    return Charge(run_id=run_id, **{**given, **changed})


def make_training(run_id: str, **changed: Any) -> Charge:
    """Of single slots, in windows that do not overlap."""
    given = {"unit": "slot", "relation": "zero out", "mechanism": TRAINING, "window": 7, "stride": 7}
    return make_charge(run_id, **{**given, "contribution_bound": None, "output_kind": "weights", **changed})


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    for name in ("FLOCKCAST_LEDGER", "FLOCKCAST_LEDGER_MODE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def ledger(own_home: Path, hands: Hands) -> Ledger:
    """With a budget for person-days and one for slots of `bikes`."""
    opened = Ledger.open(clock=hands)
    opened.grant(make_policy(), actor="owner", reason="a year of releases")
    opened.grant(make_policy(unit="slot"), actor="owner", reason="private training")
    return opened


@pytest.fixture
def policy() -> Callable[..., Policy]:
    return make_policy


@pytest.fixture
def charge() -> Callable[..., Charge]:
    return make_charge


@pytest.fixture
def training() -> Callable[..., Charge]:
    return make_training
