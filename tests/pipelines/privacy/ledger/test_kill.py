"""kill -9 at any moment: the ledger never holds less than what was spent, and it verifies."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.privacy.ledger import Ledger
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.mechanisms import PrivateTraining

SPENDER = Path(__file__).with_name("spender.py")
ROOT = Path(__file__).parents[4]
STAGES = ("reserving", "reserved", "started", "announcing", "half", "committing", "committed")


@contextmanager
def spender() -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    process = subprocess.Popen([sys.executable, str(SPENDER)], **pipes)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def kill_at(process: subprocess.Popen[str], run_id: str, truth: Path, *, stage: str, wait: float, nth: int) -> None:
    """Kill the run `wait` seconds after it says for the `nth` time that it is at `stage`."""
    process.stdin.write(f"{run_id} {truth}\n")
    process.stdin.flush()
    child, seen = None, 0
    for line in process.stdout:
        word, *rest = line.split()
        child = int(rest[0]) if word == "child" else child
        seen += word == stage
        if child and seen >= nth:
            break
        assert word != "ended", f"the run ended before it was at {stage}"
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    assert "ended\n" in iter(process.stdout.readline, "")


def spent_steps(ledger: Ledger, run_id: str) -> int:
    run = Account.of(ledger.entries(run_id=run_id)).runs.get(run_id)
    return sum(mechanism.steps for mechanism in run.counted if isinstance(mechanism, PrivateTraining)) if run else 0


def kill_and_compare(ledger: Ledger, folder: Path, *, times: int, seed: int) -> None:
    chance = random.Random(seed)
    with spender() as process:
        for number in range(times):
            stage = STAGES[number % len(STAGES)] if number < len(STAGES) else chance.choice(STAGES)
            nth = chance.randrange(1, 6) if stage == "announcing" else 1
            run_id, truth = f"run-{number}", folder / f"truth-{number}"
            kill_at(process, run_id, truth, stage=stage, wait=chance.uniform(0, 0.02), nth=nth)
            truly = int(truth.read_text() or 0) if truth.exists() else 0
            assert spent_steps(ledger, run_id) >= truly, f"before the reaper, killed at {stage}"
            ledger.reap()
            assert spent_steps(ledger, run_id) >= truly, f"after the reaper, killed at {stage}"
            verified = ledger.verify()
            assert verified.holds, f"killed at {stage}: {verified.sentence}"
    assert not [run for run in Account.of(ledger.entries()).runs.values() if run.is_open]


@pytest.fixture
def today(own_home: Path, policy: object) -> Ledger:
    """By the real clock, since the children go by it; with room for all runs."""
    opened = Ledger.open()
    opened.grant(policy(unit="slot", epsilon=4.0), actor="owner", reason="to be killed")  # type: ignore[operator]
    return opened


def test_a_killed_run_counts_for_at_least_what_it_took(today: Ledger, tmp_path: Path) -> None:
    kill_and_compare(today, tmp_path, times=8, seed=0)


@pytest.mark.slow
def test_fifty_killed_runs_count_for_at_least_what_they_took(today: Ledger, tmp_path: Path) -> None:
    kill_and_compare(today, tmp_path, times=50, seed=1)
