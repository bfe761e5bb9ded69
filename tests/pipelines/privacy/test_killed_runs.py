"""kill -9 anywhere between reserve and register: the ledger never holds less than what was spent, and it verifies."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.privacy.ledger import Ledger
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.mechanisms import PrivateTraining
from pipelines.registry import client

RUNNER = Path(__file__).with_name("runner.py")
ROOT = Path(__file__).parents[3]
STAGES = {"begun": 0.5, "drawing": 1.0, "ingested": 1.5, "trained": 6.0}  # and about how many seconds each takes


@contextmanager
def runner() -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(RUNNER)], env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def killed(process: subprocess.Popen[str], order: str, *, stage: str, nth: int, wait: float) -> bool:
    """Whether the run was killed `wait` seconds after its `nth` word of being at `stage`; else it had ended before."""
    process.stdin.write(f"{order}\n")
    process.stdin.flush()
    child, seen, end = 0, 0, None
    for line in process.stdout:
        word, *rest = line.split()
        child = int(rest[0]) if word == "child" else child
        seen += word == stage
        if seen == nth and end is None:
            end = threading.Timer(wait, os.kill, (child, signal.SIGKILL))
            end.start()
        if word == "ended":
            break
    if end is not None:
        end.cancel()
    return int(rest[0]) == signal.SIGKILL


def spent(ledger: Ledger, name: str) -> tuple[int, int]:
    """Steps of private training, and releases, that the ledger counts for the data set `name`."""
    counted = [each for run in Account.of(ledger.entries(data_set=name)).runs.values() for each in run.counted]
    steps = sum(each.steps for each in counted if isinstance(each, PrivateTraining))
    return steps, sum(not isinstance(each, PrivateTraining) for each in counted)


def registered_without_commit(ledger: Ledger, name: str) -> list[str]:
    """Versions whose ledger run is not committed."""
    committed = {entry.get("run_id") for entry in ledger.entries(type="commit")}
    found = client().search_model_versions(f"name='{name}'")
    return [version.version for version in found if version.tags.get("privacy.ledger_run") not in committed]


def kill_and_compare(folder: Path, *, times: int, seed: int) -> None:
    chance, ledger, kills = random.Random(seed), Ledger.open(), 0
    with runner() as process:
        for number in range(times):
            mechanism = ("dp_sgd", "release")[number % 2]
            stage = list(STAGES)[number // 2 % len(STAGES)]
            nth = chance.randrange(1, 40) if (mechanism, stage) == ("dp_sgd", "drawing") else 1
            name = f"run-{number}"
            wait = chance.uniform(0, STAGES[stage])
            kills += killed(process, f"{name} {mechanism} {folder}", stage=stage, nth=nth, wait=wait)
            truth = folder / f"{name}.truth"
            truly = len(truth.read_bytes()) if truth.exists() else 0
            for when in ("before", "after"):
                assert spent(ledger, name)[number % 2] >= truly, f"{when} the reaper, killed after {stage}"
                ledger.reap()
            assert registered_without_commit(ledger, name) == []
            verified = ledger.verify()
            assert verified.holds, f"killed after {stage}: {verified.sentence}"
    assert kills > 0.6 * times, "the others ended before their moment came"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FLOCKCAST_LEDGER_MODE", "test")
    return tmp_path


@pytest.mark.slow
def test_fifty_runs_killed_between_reserve_and_register_count_for_what_they_drew(home: Path) -> None:
    kill_and_compare(home, times=50, seed=0)
