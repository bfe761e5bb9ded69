"""What was written is what is read, or the ledger says where it is not."""

import json
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from pipelines.errors import BudgetRefused
from pipelines.privacy.ledger import Charge, Ledger, Policy, cost, store
from pipelines.privacy.ledger.chain import canonical, digest, seal
from pipelines.privacy.mechanisms import GaussianRelease, to_record

Make = Callable[..., Charge]


@pytest.fixture
def used(ledger: Ledger, charge: Make, training: Make) -> Ledger:
    """A release, a training that stopped early, and a refusal."""
    ledger.reserve(charge("release"))
    ledger.start("release")
    ledger.commit("release", artifact_hash="1" * 64)
    ledger.reserve(training("training", blocks=("2023-01-03", "2023-01-04")))
    ledger.start("training")
    ledger.progress("training", 100)
    ledger.progress("training", 200)
    ledger.commit("training", steps=180, artifact_hash="2" * 64)
    with pytest.raises(BudgetRefused):
        ledger.reserve(charge("too much", mechanism=GaussianRelease(sensitivity=4.0, scale=2.0)))
    return ledger


def tamper(home: Path, *statements: str) -> None:
    """As somebody with the file in hand would: the triggers are dropped first."""
    with closing(sqlite3.connect(home / "ledger.db")) as database:
        for trigger in ("ledger_no_update", "ledger_no_delete", "ledger_only_append"):
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            database.execute(statement)
        database.commit()


def stored(home: Path) -> list[tuple[int, str]]:
    with closing(sqlite3.connect(home / "ledger.db")) as database:
        return database.execute("SELECT seq, body FROM ledger_entries ORDER BY seq").fetchall()


def test_an_untouched_ledger_verifies(used: Ledger) -> None:
    found = used.verify()
    assert found.holds, found.sentence
    assert found.count == len(used.entries())


def test_any_byte_changed_is_found_where_it_is(used: Ledger, own_home: Path) -> None:
    chance = random.Random(0)
    lines = stored(own_home)
    for _ in range(40):
        seq, body = chance.choice(lines)
        at = chance.randrange(len(body))
        changed = body[:at] + chr((ord(body[at]) + chance.randrange(1, 90)) % 126) + body[at + 1 :]
        with closing(sqlite3.connect(own_home / "ledger.db")) as database:
            database.execute("DROP TRIGGER IF EXISTS ledger_no_update")
            database.execute("UPDATE ledger_entries SET body = ? WHERE seq = ?", (changed, seq))
            database.commit()
            flaw = used.verify().flaw
            assert flaw is not None
            assert flaw.seq == seq
            database.execute("UPDATE ledger_entries SET body = ? WHERE seq = ?", (body, seq))
            database.commit()
    assert used.verify().holds


@pytest.mark.parametrize("column", ["hash", "prev_hash", "type", "tenant", "data_set", "run_id"])
def test_a_column_that_disagrees_with_its_line_is_found(used: Ledger, own_home: Path, column: str) -> None:
    tamper(own_home, f"UPDATE ledger_entries SET {column} = 'other' WHERE seq = 5")
    assert used.verify().flaw.seq == 5


def test_an_edited_row_whose_hash_was_made_anew_breaks_the_chain_behind_it(used: Ledger, own_home: Path) -> None:
    seq = next(entry.seq for entry in used.entries(type="reserve"))
    body = dict(stored(own_home))[seq].replace("'20.0'", "'200.0'").replace('"20.0"', '"200.0"')
    tamper(own_home, f"UPDATE ledger_entries SET body = '{body}', hash = '{digest(body)}' WHERE seq = {seq}")
    assert used.verify().flaw.seq in (seq, seq + 1)


def test_a_total_that_the_mechanisms_do_not_add_up_to_is_found_even_in_a_chain_that_was_made_anew(
    used: Ledger, own_home: Path
) -> None:
    """All hashes rewritten: the chain holds, but the arithmetic does not, nor do the signed copies."""
    seq = next(entry.seq for entry in used.entries(type="reserve"))
    rewrite(own_home, seq, lambda record: record["composed_after"][0].update(renyi="0.100000000000"))
    flaw = used.verify().flaw
    assert flaw.seq == seq
    assert "add up" in flaw.what


def rewrite(home: Path, seq: int, change: Callable[[dict], object]) -> None:
    """Change an entry and make every hash after it anew."""
    lines = {number: json.loads(body) for number, body in stored(home)}
    change(lines[seq])
    head, statements = lines[1]["prev_hash"], []
    for number, record in lines.items():
        record["prev_hash"] = head
        body = canonical(record)
        values = f"prev_hash = '{head}', hash = '{digest(body)}', body = '{body.replace(chr(39), chr(39) * 2)}'"
        statements.append(f"UPDATE ledger_entries SET {values} WHERE seq = {number}")
        head = digest(body)
    tamper(home, *reversed(statements))


def test_a_chain_that_was_made_anew_with_right_totals_is_found_by_its_signed_copies(
    used: Ledger, own_home: Path
) -> None:
    seq = next(entry.seq for entry in used.entries(type="reserve"))
    rewrite(own_home, seq, lambda record: record.update(recipients="nobody at all"))
    flaw = used.verify().flaw
    assert "signed" in flaw.what
    assert flaw.seq >= seq


def test_a_truncated_tail_is_found_by_the_anchor(used: Ledger, own_home: Path) -> None:
    count = len(used.entries())
    used.anchor()
    tamper(own_home, f"DELETE FROM ledger_entries WHERE seq > {count - 2}")
    flaw = used.verify().flaw
    assert flaw.seq == count - 1
    assert "cut off" in flaw.what


def test_a_finished_run_hidden_at_the_end_is_found_without_any_further_anchor(
    ledger: Ledger, own_home: Path, charge: Make
) -> None:
    before = len(ledger.entries())
    ledger.reserve(charge("hidden"))
    ledger.start("hidden")
    ledger.commit("hidden", artifact_hash="f" * 64)
    tamper(own_home, f"DELETE FROM ledger_entries WHERE seq > {before}")
    assert ledger.verify().flaw.seq == before + 1


def test_a_run_hidden_in_the_middle_is_found(used: Ledger, own_home: Path) -> None:
    seq = next(entry.seq for entry in used.entries(run_id="release"))
    tamper(own_home, "DELETE FROM ledger_entries WHERE run_id = 'release'")
    flaw = used.verify().flaw
    assert flaw.seq == seq
    assert "missing" in flaw.what


def test_a_whole_ledger_that_was_deleted_is_found(used: Ledger, own_home: Path) -> None:
    for file in own_home.glob("ledger.db*"):
        file.unlink()
    assert Ledger.open().verify().flaw.seq == 1


def test_a_time_before_that_of_the_entry_before_is_found(used: Ledger, own_home: Path) -> None:
    rewrite(own_home, 6, lambda record: record.update(time="2020-01-01T00:00:00.000000Z"))
    flaw = used.verify().flaw
    assert flaw.seq == 6
    assert "time" in flaw.what


def test_an_admission_over_the_cap_is_found_even_with_right_totals(
    used: Ledger, own_home: Path, policy: Callable[..., Policy]
) -> None:
    """Somebody rewrites the chain, with figures that add up and the anchors gone, to hide that a check was skipped."""
    seq = next(entry.seq for entry in used.entries(type="reserve"))
    louder = GaussianRelease(sensitivity=4.0, scale=2.0)
    renyi, epsilon = cost.divergence(louder, 12.0), str(cost.epsilon([louder], 1e-6))
    promised = str(cost.promised(renyi, policy()))
    renyi = str(renyi)

    def change(record: dict) -> None:
        (row,) = record["composed_after"]
        row.update(renyi=renyi, epsilon=promised)
        record.update(renyi=renyi, epsilon=epsilon, mechanism=to_record(louder))

    rewrite(own_home, seq, change)
    flaw = used.verify().flaw
    assert flaw.seq == seq
    assert "no budget left" in flaw.what


@pytest.mark.parametrize("cut", ["lost", "edited", "shortened"])
def test_copies_that_were_tampered_with_do_not_pass(used: Ledger, own_home: Path, cut: str) -> None:
    used.anchor()
    used.anchor()
    (file,) = (own_home / "anchors").iterdir()
    lines = file.read_text().splitlines()
    if cut == "lost":
        file.unlink()
    elif cut == "edited":
        file.write_text("\n".join([*lines[:-1], lines[-1].replace('"count":"', '"count":"1')]) + "\n")
    else:
        file.write_text(lines[0] + "\n")
    assert not used.verify().holds


def test_nothing_is_spent_on_a_ledger_that_does_not_verify(used: Ledger, own_home: Path, charge: Make) -> None:
    tamper(own_home, "UPDATE ledger_entries SET body = replace(body, '20.0', '99.0') WHERE type = 'reserve'")
    count = len(stored(own_home))
    with pytest.raises(BudgetRefused) as refused:
        Ledger.open(clock=used._clock).reserve(charge("next"))
    assert refused.value.reason == "ledger_broken"
    assert len(stored(own_home)) == count


def test_a_broken_book_is_not_reaped_either(used: Ledger, own_home: Path, charge: Make) -> None:
    host = used.reserve(charge("open")).fields["owner"]["host"]
    tamper(own_home, "UPDATE ledger_entries SET body = replace(body, '20.0', '99.0') WHERE run_id = 'release'")
    count = len(stored(own_home))
    with pytest.raises(BudgetRefused, match="does not verify"):
        Ledger.open(clock=used._clock).reap(gone=(host,))
    assert len(stored(own_home)) == count


def test_update_and_delete_and_replace_are_refused_by_the_database(used: Ledger, own_home: Path) -> None:
    with closing(sqlite3.connect(own_home / "ledger.db")) as database:
        for statement in (
            "UPDATE ledger_entries SET type = 'release' WHERE seq = 3",
            "DELETE FROM ledger_entries WHERE seq = 3",
            "INSERT OR REPLACE INTO ledger_entries SELECT * FROM ledger_entries WHERE seq = 3",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                database.execute(statement)


def test_two_heirs_of_one_entry_are_refused_by_the_database(used: Ledger) -> None:
    newest = used.entries()[-1]
    fork = seal(seq=newest.seq + 1, prev_hash=newest.prev_hash, time=newest.time, type="release", fields={})
    with pytest.raises(IntegrityError, match="prev_hash"), used.store.writing() as connection:
        store.append(connection, fork, step=None)


def test_replaying_the_mechanisms_gives_the_stored_totals(used: Ledger) -> None:
    """By hand, not by the code that `verify` uses: a Gaussian's divergence is order * (sensitivity / scale)^2 / 2."""
    release = used.entries(run_id="release", type="commit")[0].fields
    by_hand = 12 * (4 / 20) ** 2 / 2
    assert float(release["composed_after"][0]["renyi"]) == pytest.approx(by_hand, rel=1e-8)
    assert float(release["composed_after"][0]["renyi"]) >= by_hand


def test_entries_hold_no_number_that_a_reader_could_round(used: Ledger) -> None:
    def numbers(value: object) -> list[object]:
        if isinstance(value, dict):
            return [found for inner in value.values() for found in numbers(inner)]
        if isinstance(value, list):
            return [found for inner in value for found in numbers(inner)]
        return [] if isinstance(value, str | bool) else [value]

    assert [numbers(entry.fields) for entry in used.entries()] == [[] for _ in used.entries()]


def forge(ledger: Ledger, entry_type: str, fields: dict) -> None:
    """Append as somebody who may write to the database but does not ask the ledger: the chain holds."""
    with ledger.store.writing() as connection:
        seq, head, time = store.head(connection)
        line = seal(seq=seq + 1, prev_hash=head, time=time, type=entry_type, fields=fields)
        store.append(connection, line, step=None)


def test_an_appended_release_of_a_run_that_had_begun_is_found(ledger: Ledger, charge: Make) -> None:
    ledger.reserve(charge("run"))
    begun = ledger.start("run")
    forge(ledger, "release", {name: begun.get(name) for name in ("run_id", "tenant", "dataset_id", "actor")})
    assert "had begun" in ledger.verify().flaw.what


def test_an_appended_commit_of_fewer_steps_than_were_announced_is_found(ledger: Ledger, training: Make) -> None:
    reserved = ledger.reserve(training("run"))
    ledger.start("run")
    ledger.progress("run", 300)
    few = {**reserved.fields, "mechanism": {**reserved.get("mechanism"), "steps": "0"}}
    forge(ledger, "commit", few)
    assert "300 may have been taken" in ledger.verify().flaw.what


def test_an_appended_second_commit_is_found(used: Ledger) -> None:
    forge(used, "commit", used.entries(type="commit", run_id="training")[0].fields)
    assert "committed before" in used.verify().flaw.what


def test_an_appended_raise_that_nobody_approved_is_found(ledger: Ledger) -> None:
    granted = ledger.entries(type="policy")[0]
    forge(ledger, "policy", granted.fields)
    assert "without an approver" in ledger.verify().flaw.what


def test_an_appended_budget_for_a_second_unit_that_says_nothing_of_it_is_found(ledger: Ledger) -> None:
    granted = ledger.entries(type="policy")[0].fields
    forge(ledger, "policy", {**granted, "unit": "trip"})
    assert "counted separately" in ledger.verify().flaw.what


def test_an_epsilon_of_one_run_that_was_lowered_is_found(used: Ledger, own_home: Path) -> None:
    seq = next(entry.seq for entry in used.entries(type="reserve"))
    rewrite(own_home, seq, lambda record: record.update(epsilon="0.001"))
    assert "its epsilon is 0.001" in used.verify().flaw.what


def lose(home: Path, what: str) -> None:
    if what == "copies":
        next((home / "anchors").iterdir()).unlink()
    else:
        (home / "ledger.key").unlink()


@pytest.mark.parametrize("lost", [("copies",), ("key",), ("copies", "key")])
def test_a_ledger_whose_signatures_are_lost_does_not_verify_until_somebody_says_so(
    ledger: Ledger, own_home: Path, lost: tuple[str, ...]
) -> None:
    for what in lost:
        lose(own_home, what)
    ledger = Ledger.open(clock=ledger._clock)
    assert not ledger.verify().holds
    found = ledger.verify(without_anchors=True)
    assert found.holds
    assert "without a signed copy outside" in found.sentence


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("count", "7", "another head"), ("head", "0" * 64, "another head"), ("signature", "0" * 64, "not made with")],
)
def test_an_appended_anchor_that_is_not_one_is_found(ledger: Ledger, name: str, value: str, said: str) -> None:
    newest = ledger.entries()[-1]
    anchor = ledger.notary.sign(count=newest.seq, head=newest.hash, time=newest.time).to_fields() | {name: value}
    forge(ledger, "anchor", {"actor": "x", **{f"anchor_{field}": told for field, told in anchor.items()}})
    flaw = ledger.verify().flaw
    assert flaw.seq == newest.seq + 1
    assert said in flaw.what
