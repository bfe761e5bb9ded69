"""The key and the copies: nobody else reads the one, nobody forges the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import LedgerError
from pipelines.privacy.ledger import Ledger, Policy, book
from pipelines.privacy.ledger.anchors import Notary


def test_the_key_and_the_book_are_their_owner_s_alone(ledger: Ledger, own_home: Path) -> None:
    assert (own_home / "ledger.key").stat().st_mode & 0o777 == 0o600
    assert (own_home / "ledger.db").stat().st_mode & 0o777 == 0o600
    (own_home / "ledger.key").chmod(0o644)
    with pytest.raises(LedgerError, match="chmod 600"):
        Ledger.open()


def test_an_anchor_signed_with_another_key_is_not_believed(ledger: Ledger) -> None:
    forger = Notary(ledger.notary.ledger, b"x" * 32, ledger.notary.file)
    forger.keep(forger.sign(count=1, head="0" * 64, time="2026-05-04T12:00:00.000000Z"))
    assert "did not sign" in ledger.verify().flaw.what


def test_a_line_that_is_still_being_written_is_read_next_time(ledger: Ledger) -> None:
    kept = ledger.notary.kept()
    with ledger.notary.file.open("a") as copies:
        copies.write('{"count":')
    assert ledger.notary.kept(after=kept.end).anchors == []


def test_anchors_come_with_entries_and_with_days(
    ledger: Ledger, hands: Any, policy: Callable[..., Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "ANCHOR_EVERY", 10)
    before = len(ledger.entries(type="anchor"))
    hands.time = hands.time.replace(day=hands.time.day + 1)
    ledger.grant(policy(data_set="next day"), actor="owner", reason="a day later")
    assert len(ledger.entries(type="anchor")) == before + 1
    for number in range(10):
        ledger.grant(policy(data_set=f"set {number}"), actor="owner", reason="many")
    assert len(ledger.entries(type="anchor")) == before + 2
    assert ledger.verify().holds


def test_a_writer_that_was_stopped_before_the_copy_does_not_break_the_book(ledger: Ledger) -> None:
    """Killed between the database and the file: the next one who anchors writes the copy too."""
    with ledger._book(trust=False) as opened:
        opened.anchor()  # and nothing is kept
    assert ledger.verify().holds
    ledger.anchor()
    ledger.anchor()
    assert ledger.verify().holds


def test_half_a_line_left_by_a_full_disk_does_not_stop_the_book(ledger: Ledger, policy: Callable[..., Policy]) -> None:
    with ledger.notary.file.open("a") as copies:
        copies.write('{"count":"9","he')
    for number in range(2):
        ledger.grant(policy(data_set=f"set {number}"), actor="owner", reason="and on")
    assert ledger.verify().holds
    assert Ledger.open(clock=ledger._clock).verify().anchors >= 3
