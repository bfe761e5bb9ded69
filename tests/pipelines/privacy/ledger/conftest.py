"""A ledger of a test's own, in a home of its own, and requests to make of it."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.privacy.ledger import Charge, Ledger, Policy, cost
from pipelines.privacy.ledger.account import Account
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
    given |= {"sampler": "poisson", "contribution_bound": None, "output_kind": "weights"}
    return make_charge(run_id, **{**given, **changed})


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
    opened.grant(make_policy(unit="slot"), actor="owner", reason="private training", separately=True)
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


RACER = Path(__file__).with_name("racer.py")
ROOT = Path(__file__).parents[4]
FIT = 3  # reservations that the budget has room for


@contextmanager
def racers(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen([sys.executable, str(RACER), str(name)], **pipes) for name in range(count)]
    try:
        assert [process.stdout.readline() for process in started] == ["ready\n"] * count
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def run_race(ledger: Ledger, *, processes: int, rounds: int) -> None:
    """Processes ask at once, data set by data set; all live to the end, or their reservations would be given back."""
    names = [f"set {number}" for number in range(rounds)]
    for name in names:
        # room for three releases of divergence 0.24 and a half
        ledger.grant(make_policy(data_set=name, unit="trip", epsilon=1.79), actor="owner", reason="a race")
    with racers(processes) as running:
        for name in names:
            for process in running:
                process.stdin.write(f"{name}\n")
                process.stdin.flush()
            told = Counter(process.stdout.readline().split()[0] for process in running)
            assert told == {"admitted": min(FIT, processes), "over_cap": max(processes - FIT, 0)}, name
    cap = cost.cap(make_policy(epsilon=1.79))
    for name in names:
        histories = Account.of(ledger.entries(data_set=name)).histories("trip")
        assert all(cost.total(history, 12.0) <= cap for history in histories.values())
    assert ledger.verify().holds


@pytest.fixture
def race() -> Callable[..., None]:
    return run_race
