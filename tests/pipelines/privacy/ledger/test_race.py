"""Real processes at one ledger: nobody gets what another has, nothing gets lost."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipelines.privacy.ledger import Charge, Ledger, Policy, cost
from pipelines.privacy.ledger.account import Account

RACER = Path(__file__).with_name("racer.py")
ROOT = Path(__file__).parents[4]
FIT = 3  # reservations that the budget has room for


@contextmanager
def racers(count: int) -> Iterator[list[subprocess.Popen[str]]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    started = [subprocess.Popen([sys.executable, str(RACER), str(name)], **pipes) for name in range(count)]
    try:
        assert [process.stdout.readline() for process in started] == ["ready\n"] * count
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def race(ledger: Ledger, policy: Callable[..., Policy], *, processes: int, rounds: int) -> None:
    names = [f"set {number}" for number in range(rounds)]
    for name in names:
        # room for three releases of divergence 0.24 and a half
        ledger.grant(policy(data_set=name, unit="trip", epsilon=1.79), actor="owner", reason="a race")
    with racers(processes) as running:
        for name in names:
            for process in running:
                process.stdin.write(f"{name}\n")
                process.stdin.flush()
            told = Counter(process.stdout.readline().split()[0] for process in running)
            assert told == {"admitted": min(FIT, processes), "over_cap": max(processes - FIT, 0)}, name
    cap = cost.cap(policy(epsilon=1.79))
    for name in names:
        histories = Account.of(ledger.entries(data_set=name)).histories("trip")
        assert all(cost.total(history, 12.0) <= cap for history in histories.values())
    assert ledger.verify().holds


def test_processes_that_race_for_the_last_budget_never_overrun_it(
    ledger: Ledger, policy: Callable[..., Policy], charge: Callable[..., Charge]
) -> None:
    race(ledger, policy, processes=5, rounds=30)


@pytest.mark.slow
def test_twenty_processes_racing_a_thousand_times_never_overrun_a_budget(
    ledger: Ledger, policy: Callable[..., Policy]
) -> None:
    race(ledger, policy, processes=20, rounds=1000)
