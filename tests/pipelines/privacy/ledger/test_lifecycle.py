"""From reservation to commit: nothing is forgotten, nothing counted twice, a stop counts for what was announced."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from pipelines.errors import BudgetRefused, LedgerError
from pipelines.privacy.ledger import Charge, Ledger, owner
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.owner import Owner, this_process
from pipelines.privacy.mechanisms import PrivateTraining, from_record

Make = Callable[..., Charge]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Owner], None]]:
    """Act as another process."""

    def become(other: Owner) -> None:
        for module in ("book", "lifecycle"):
            monkeypatch.setattr(f"pipelines.privacy.ledger.{module}.this_process", lambda: other)

    return become


@pytest.fixture(scope="module")
def ended() -> Owner:
    """A process of this machine that is gone."""
    script = "from pipelines.privacy.ledger.owner import this_process; print(*this_process().to_fields().values())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=os.getcwd())
    return Owner(*told.stdout.split())


def counted_steps(ledger: Ledger, run_id: str) -> int:
    (mechanism,) = Account.of(ledger.entries()).runs[run_id].counted
    assert isinstance(mechanism, PrivateTraining)
    return mechanism.steps


def test_a_repeated_step_gives_the_same_entry(ledger: Ledger, training: Make) -> None:
    asked = training("run")
    steps: list[Callable[[], object]] = [
        lambda: ledger.reserve(asked),
        lambda: ledger.start("run"),
        lambda: ledger.progress("run", 50),
        lambda: ledger.commit("run", artifact_hash="a"),
    ]
    for step in steps:
        first = step()
        count = len(ledger.entries())
        assert step() == first
        assert len(ledger.entries()) == count
    assert ledger.reserve(asked).type == "reserve"  # and late


def test_one_id_is_one_request(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    with pytest.raises(LedgerError, match="blocks differ"):
        ledger.reserve(training("run", blocks=("2023-01-01",)))


def test_a_second_artefact_is_a_second_run(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    ledger.commit("run", artifact_hash="a")
    with pytest.raises(LedgerError, match="second run"):
        ledger.commit("run", artifact_hash="b")


def test_a_reservation_counts_in_full_until_it_is_committed(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    ledger.progress("run", 100)
    assert counted_steps(ledger, "run") == 400


@pytest.mark.parametrize(("announced", "done", "charged"), [([], 10, 400), ([100, 200], 150, 200), ([100], 130, 130)])
def test_unused_steps_come_back_down_to_what_was_announced(
    ledger: Ledger, training: Make, announced: list[int], done: int, charged: int
) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    for steps in announced:
        ledger.progress("run", steps)
    ledger.commit("run", steps=done, artifact_hash="a")
    assert counted_steps(ledger, "run") == charged


def test_steps_beyond_the_reservation_are_charged_and_said(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    ledger.progress("run", 400)
    entry = ledger.commit("run", steps=450, artifact_hash="a")
    assert entry.get("overrun") == "50"
    assert counted_steps(ledger, "run") == 450
    assert ledger.verify().overruns == (entry.seq,)


def test_more_than_was_reserved_can_not_be_announced(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    with pytest.raises(BudgetRefused) as refused:
        ledger.progress("run", 401)
    assert refused.value.reason == "over_reservation"
    assert refused.value.entry.type == "refuse"


def test_only_what_never_started_is_given_back(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("idle"))
    assert ledger.release("idle") == ledger.release("idle")
    assert Account.of(ledger.entries()).runs["idle"].counted == ()
    with pytest.raises(LedgerError, match="released"):
        ledger.start("idle")
    ledger.reserve(training("begun"))
    ledger.start("begun")
    with pytest.raises(LedgerError, match="stays spent"):
        ledger.release("begun")


def test_steps_of_all_attempts_count(
    ledger: Ledger, training: Make, elsewhere: Callable[[Owner], None], ended: Owner
) -> None:
    me = this_process()
    ledger.reserve(training("run"))
    elsewhere(ended)
    ledger.start("run")
    ledger.progress("run", 120)
    elsewhere(me)
    assert ledger.start("run").get("attempt") == "2"
    ledger.progress("run", 280)
    with pytest.raises(BudgetRefused, match="401 steps over 2 attempts"):
        ledger.progress("run", 281)
    ledger.commit("run", artifact_hash="a")
    assert counted_steps(ledger, "run") == 400


def test_a_run_that_is_at_work_is_not_started_by_another(
    ledger: Ledger, training: Make, elsewhere: Callable[[Owner], None]
) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    mother = os.getppid()
    elsewhere(Owner(*list(this_process().to_fields().values())[:3], str(mother), owner.started(mother)))
    with pytest.raises(LedgerError, match="at work already"):
        ledger.start("run")


@pytest.mark.parametrize(
    ("stage", "type", "steps"),
    [("reserved", "release", None), ("started", "commit", 400), ("announced", "commit", 150)],
)
def test_a_run_whose_process_is_gone_is_settled_at_what_it_may_have_spent(
    ledger: Ledger,
    training: Make,
    elsewhere: Callable[[Owner], None],
    ended: Owner,
    stage: str,
    type: str,
    steps: int | None,
) -> None:
    me = this_process()
    elsewhere(ended)
    ledger.reserve(training("run"))
    if stage != "reserved":
        ledger.start("run")
    if stage == "announced":
        ledger.progress("run", 150)
    elsewhere(me)
    (settled,) = ledger.reap()
    assert settled.type == type
    if steps:
        assert from_record(settled.fields["mechanism"]).steps == steps
    assert ledger.reap() == []
    assert ledger.verify().holds


def test_a_live_run_is_never_reaped_however_old(ledger: Ledger, training: Make, hands: Any) -> None:
    ledger.reserve(training("run"))
    ledger.start("run")
    hands.time += timedelta(days=400)
    assert ledger.reap() == []


def test_a_process_that_has_the_number_of_a_dead_one_is_not_taken_for_it(ended: Owner) -> None:
    me = this_process()
    assert not me.is_gone
    assert Owner(me.host, me.namespace, me.boot, me.pid, ended.started + "1").is_gone


def test_a_killed_process_is_gone_before_its_mother_has_noticed() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        me, began = this_process(), owner.started(process.pid)
        assert began is not None
        child = Owner(me.host, me.namespace, me.boot, str(process.pid), began)
        assert not child.is_gone
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
        assert child.is_gone
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("of", ["host", "namespace"])
def test_of_another_machine_nothing_is_known_so_its_runs_live_until_a_person_says_otherwise(
    ledger: Ledger, training: Make, elsewhere: Callable[[Owner], None], ended: Owner, of: str
) -> None:
    me = this_process()
    away = Owner(**{**ended.to_fields(), of: "far"})
    assert not away.is_gone
    elsewhere(away)
    ledger.reserve(training("run"))
    elsewhere(me)
    assert ledger.reap() == []
    assert len(ledger.reap(gone=(away.host,))) == 1


def test_reserving_settles_dead_runs_first(
    ledger: Ledger, training: Make, elsewhere: Callable[[Owner], None], ended: Owner
) -> None:
    me = this_process()
    elsewhere(ended)
    ledger.reserve(training("dead"))
    elsewhere(me)
    ledger.reserve(training("next"))
    assert [entry.type for entry in ledger.entries(run_id="dead")] == ["reserve", "release"]


def test_files_that_changed_since_the_reservation_are_not_read(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    with pytest.raises(LedgerError, match="other files"):
        ledger.start("run", sources=("b" * 64,))
    ledger.start("run", sources=("a" * 64,))


def test_a_correction_adds_to_what_is_spent(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    extra = PrivateTraining(noise_multiplier=4.0, sample_rate=0.02, steps=7, max_grad_norm=1.0)
    entry = ledger.correct("run", extra, actor="owner", reason="seven steps were taken by hand")
    assert entry.get("corrects") == str(ledger.entries(type="reserve")[0].seq)
    assert len(Account.of(ledger.entries()).runs["run"].counted) == 2
    assert ledger.verify().holds


def test_what_is_not_known_can_not_go_on(ledger: Ledger) -> None:
    for act in (ledger.start, ledger.release, lambda run: ledger.commit(run, artifact_hash="a")):
        with pytest.raises(LedgerError, match="reserve before starting"):
            act("nobody")


def test_nothing_can_be_committed_that_was_not_started(ledger: Ledger, training: Make) -> None:
    ledger.reserve(training("run"))
    with pytest.raises(LedgerError, match="started"):
        ledger.commit("run", artifact_hash="a")


def test_a_release_that_stopped_is_not_drawn_again_for_the_same_spend(
    ledger: Ledger, charge: Make, elsewhere: Callable[[Owner], None], ended: Owner
) -> None:
    """Fresh noise on the same counts is a second release, whatever became of the first."""
    me = this_process()
    ledger.reserve(charge("run"))
    elsewhere(ended)
    ledger.start("run")
    elsewhere(me)
    with pytest.raises(LedgerError, match="fresh noise is a new spend"):
        ledger.start("run")


def test_counts_are_not_drawn_twice_for_one_spend_by_the_same_process_either(ledger: Ledger, charge: Make) -> None:
    ledger.reserve(charge("run"))
    ledger.start("run")
    with pytest.raises(LedgerError, match="fresh noise is a new spend"):
        ledger.start("run")


@pytest.mark.parametrize("announced", [(), (400,)])
def test_an_attempt_that_may_have_spent_everything_has_no_successor(
    ledger: Ledger, training: Make, elsewhere: Callable[[Owner], None], ended: Owner, announced: tuple[int, ...]
) -> None:
    me = this_process()
    ledger.reserve(training("run"))
    elsewhere(ended)
    ledger.start("run")
    for steps in announced:
        ledger.progress("run", steps)
    elsewhere(me)
    with pytest.raises(LedgerError, match="reserve it under a new id"):
        ledger.start("run")


def test_steps_that_one_process_takes_again_after_an_error_count_again(ledger: Ledger, training: Make) -> None:
    """A flow retries a failed task in the process that it failed in."""
    ledger.reserve(training("run"))
    ledger.start("run")
    ledger.progress("run", 150)
    assert ledger.start("run").get("attempt") == "2"
    ledger.progress("run", 150)
    ledger.commit("run", steps=150, artifact_hash="a")
    assert counted_steps(ledger, "run") == 300
