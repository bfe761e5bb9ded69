"""What a process remembers of the ledger is what the ledger says, whoever wrote it and whatever was rolled back."""

from collections import Counter
from collections.abc import Callable

import pytest

from pipelines.privacy.ledger import Charge, Ledger, store
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.mechanisms import PrivateTraining

Make = Callable[..., Charge]
EXTRA = PrivateTraining(noise_multiplier=4.0, sample_rate=0.02, steps=7, max_grad_norm=1.0)


def remembered(ledger: Ledger, charge: Charge) -> Account:
    return ledger._account(charge)


def by_hand(account: Account, unit: str) -> dict[str, Counter]:
    found: dict[str, Counter] = {}
    for run in account.runs.values():
        if run.unit == unit and run.counted:
            for block in run.blocks:
                found.setdefault(block, Counter()).update(run.counted)
    return found


def test_pasts_are_what_the_runs_count_for_whatever_became_of_them(ledger: Ledger, training: Make) -> None:
    for run_id, blocks in (("stopped", ("2023-01-01", "2023-01-02")), ("idle", ("2023-01-02", "2023-01-03"))):
        ledger.reserve(training(run_id, blocks=blocks))
    ledger.release("idle")
    ledger.start("stopped")
    ledger.progress("stopped", 100)
    ledger.commit("stopped", artifact_hash="a" * 64)
    ledger.correct("stopped", EXTRA, actor="owner", reason="seven steps by hand")
    ledger.reserve(training("open", blocks=("2023-01-02",)))
    account = remembered(ledger, training("x"))
    pasts = {block: Counter(past) for block, past in account.histories("slot").items()}
    assert pasts == by_hand(account, "slot")
    assert set(pasts) == {"2023-01-01", "2023-01-02"}  # nothing is left of what was given back
    assert ledger.verify().holds


def test_what_another_process_has_spent_is_seen(ledger: Ledger, charge: Make) -> None:
    other = Ledger.open(clock=ledger._clock)
    for number in range(2):
        ledger.reserve(charge(f"here {number}"))
        other.reserve(charge(f"there {number}"))
    for each in (ledger, other):
        assert len(remembered(each, charge("x")).runs) == 4


def test_what_was_rolled_back_is_not_remembered(
    ledger: Ledger, training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is asked for between two lines of one transaction, and the second can't be written."""
    for number in range(2):
        ledger.reserve(training(f"run {number}"))
    host = ledger.entries(type="reserve")[0].fields["owner"]["host"]
    ledger.start("run 0")
    ledger.start("run 1")
    written = store.append

    def full_disk(connection: object, entry: Entry, *, step: str | None) -> None:
        if entry.type == "commit" and entry.get("run_id") == "run 1":
            raise OSError("no space left")
        written(connection, entry, step=step)

    monkeypatch.setattr(store, "append", full_disk)
    with pytest.raises(OSError, match="no space"):
        ledger.reap(gone=(host,))
    assert all(run.is_open for run in remembered(ledger, training("x")).runs.values())


def test_a_step_reads_only_what_came_since(ledger: Ledger, charge: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.reserve(charge("first"))
    remembered(ledger, charge("x"))
    taken: list[str] = []
    add = Account.add
    monkeypatch.setattr(Account, "add", lambda account, entry: (taken.append(entry.type), add(account, entry)))
    ledger.reserve(charge("second"))
    remembered(ledger, charge("x"))
    assert taken == ["reserve"]
