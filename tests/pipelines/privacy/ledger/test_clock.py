"""A clock that runs backwards makes no time for anything; one that ran ahead does not lock the ledger for years."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pipelines.errors import BudgetRefused, LedgerError
from pipelines.privacy.ledger import Charge, Ledger, Policy

Make = Callable[..., Charge]


def test_a_clock_that_moved_back_beyond_the_tolerance_is_refused(ledger: Ledger, charge: Make, hands: Any) -> None:
    hands.time -= timedelta(minutes=3)
    count = len(ledger.entries())
    with pytest.raises(BudgetRefused, match="clock") as refused:
        ledger.reserve(charge("run"))
    assert refused.value.reason == "clock"
    assert [entry.type for entry in ledger.entries()[count:]] == ["refuse"]
    assert ledger.verify().holds


def test_no_budget_is_given_at_a_time_that_is_past(ledger: Ledger, policy: Callable[..., Policy], hands: Any) -> None:
    hands.time -= timedelta(days=3)
    with pytest.raises(BudgetRefused, match="clock"):
        ledger.grant(policy(unit="trip"), actor="owner", reason="while the old rules held")


def test_clocks_of_two_machines_may_differ_a_little_and_time_still_goes_on(
    ledger: Ledger, charge: Make, hands: Any
) -> None:
    before = ledger.entries()[-1].time
    hands.time -= timedelta(minutes=1)
    assert ledger.reserve(charge("run")).time >= before
    assert ledger.verify().holds


def test_what_was_spent_is_written_whatever_the_clock_says(ledger: Ledger, training: Make, hands: Any) -> None:
    """To refuse a commit would not make it unspent."""
    ledger.reserve(training("run"))
    ledger.start("run")
    hands.time -= timedelta(days=1)
    ledger.progress("run", 100)
    entry = ledger.commit("run", artifact_hash="a" * 64)
    assert entry.get("clock").startswith("2026-05-03")
    assert ledger.verify().holds


def test_a_clock_that_ran_ahead_is_put_right_by_two_people_and_everybody_can_see_it(
    ledger: Ledger, charge: Make, hands: Any
) -> None:
    hands.time += timedelta(days=3650)
    ledger.reserve(charge("ahead"))
    hands.time -= timedelta(days=3650)
    with pytest.raises(BudgetRefused, match="correct-clock"):
        ledger.reserve(charge("run"))
    with pytest.raises(LedgerError, match="approver"):
        ledger.correct_clock(actor="ann", reason="the battery was flat", approver="ann")
    entry = ledger.correct_clock(actor="ann", reason="the battery was flat", approver="bob")
    assert entry.get("newest").startswith("2036")
    ledger.reserve(charge("run"))
    assert ledger.verify().holds


def test_a_clock_that_is_right_is_not_corrected(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="nothing to correct"):
        ledger.correct_clock(actor="ann", reason="to be young again", approver="bob")
