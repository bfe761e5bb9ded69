"""A database that can't be used is told in one sentence, and never taken for an empty ledger."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.errors import BudgetRefused, LedgerError
from pipelines.privacy.ledger import Charge, Ledger, store


def test_a_file_that_is_no_database_is_told(own_home: Path) -> None:
    (own_home / "ledger.db").write_text("no database, but longer than the header of one " * 10)
    with pytest.raises(LedgerError, match="can't be opened"):
        Ledger.open()


def test_a_database_that_somebody_holds_for_too_long_is_told(
    own_home: Path, charge: Callable[..., Charge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAIT_SECONDS", 0.05)
    ledger = Ledger.open()
    with closing(sqlite3.connect(own_home / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="can't be written: database is locked"):
            ledger.reserve(charge("run"))
    assert ledger.entries() == []


def test_a_line_that_can_not_be_read_is_told_and_spends_nothing(
    ledger: Ledger, own_home: Path, charge: Callable[..., Charge]
) -> None:
    with closing(sqlite3.connect(own_home / "ledger.db")) as database:
        database.execute("DROP TRIGGER ledger_no_update")
        database.execute("UPDATE ledger_entries SET body = 'gone' WHERE seq = 1")
        database.commit()
    with pytest.raises(LedgerError, match="can't be read: 'gone'"):
        ledger.standing()
    with pytest.raises(BudgetRefused) as refused:
        Ledger.open(clock=ledger._clock).reserve(charge("run"))
    assert refused.value.reason == "ledger_broken"
