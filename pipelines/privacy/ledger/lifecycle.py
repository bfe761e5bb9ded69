"""What becomes of a reservation: started, announced, committed, given back, corrected."""

from typing import Any

from pipelines.errors import LedgerError
from pipelines.privacy.ledger import store
from pipelines.privacy.ledger.account import Run
from pipelines.privacy.ledger.admission import Answer
from pipelines.privacy.ledger.book import Book, owned
from pipelines.privacy.ledger.case import Refusal
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.owner import this_process
from pipelines.privacy.ledger.records import spelled
from pipelines.privacy.ledger.settled import settled
from pipelines.privacy.mechanisms import Mechanism, PrivateTraining, to_record


def start(book: Book, run_id: str, *, sources: tuple[str, ...] | None) -> Entry:
    run = known(book, run_id)
    if run.released or run.commit:
        raise LedgerError(f"run {run_id} is {run.state}; what comes now needs a reservation of its own")
    if sources is not None and sorted(spelled(sources)) != run.entry.fields["sources"]:
        raise LedgerError(
            f"run {run_id} would read other files than it reserved for; ingest them again and reserve anew"
        )
    if run.attempts:
        attempt = run.attempts[-1]
        if attempt.owner == this_process():
            if attempt.bound is None and not _is_drawn_at_once(run):
                return attempt.entry  # the same request once more
        elif not attempt.owner.is_gone:
            raise LedgerError(f"run {run_id} is at work already, in {attempt.owner.name}; wait for it or stop it")
        if not run.left:
            raise LedgerError(
                f"run {run_id} may have spent all that it reserved in {_attempts(len(run.attempts))}; "
                "fresh noise is a new spend, so reserve it under a new id"
            )
    number = len(run.attempts) + 1
    return book.append("start", {**about(run), **owned(), "attempt": str(number)}, step=f"start:{number}")


def progress(book: Book, run_id: str, steps: int) -> Answer:
    run = known(book, run_id)
    if not run.is_open or not run.attempts:
        raise LedgerError(f"run {run_id} is {run.state}: steps are announced between start and commit")
    if not isinstance(run.reserved, PrivateTraining):
        raise LedgerError(f"run {run_id} takes no steps")
    attempt = run.attempts[-1]
    if attempt.bound is not None and steps <= attempt.bound:
        return _last_progress(book, run_id)
    if run.earlier + steps > run.reserved.steps:
        refusal = Refusal(
            "over_reservation",
            f"run {run_id} would take {run.earlier + steps:,} steps over {len(run.attempts)} attempts, and reserved "
            f"{run.reserved.steps:,}; stop here, or reserve the rest under a new id",
            {"shortfall": str(run.earlier + steps - run.reserved.steps)},
        )
        return refusal, book.append("refuse", {**about(run), "steps": str(steps), **refusal.to_fields()})
    number = len(run.attempts)
    fields = {**about(run), "attempt": str(number), "steps": str(steps), "attempted": str(run.earlier + steps)}
    return book.append("progress", fields, step=f"progress:{number}:{steps}")


def commit(book: Book, run_id: str, *, steps: int | None, made: dict[str, str]) -> Entry:
    """Steps that were not announced come back; those beyond the reservation are charged, and said."""
    run = known(book, run_id)
    if run.commit:
        return _same(run.commit, made)
    if not run.attempts:
        raise LedgerError(f"run {run_id} is {run.state}: only what was started can be committed")
    return book.append("commit", {**settled(book, run, steps=steps), **made}, step="commit", mark=True)


def release(book: Book, run_id: str, *, actor: str) -> Entry:
    run = known(book, run_id)
    if run.released:
        return run.released
    if run.attempts or run.commit:
        raise LedgerError(f"run {run_id} is {run.state}: it may have read data, so what it reserved stays spent")
    return book.append("release", {**about(run), "actor": actor}, step="release")


def correct(book: Book, run_id: str, mechanism: Mechanism, *, actor: str, reason: str) -> Entry:
    run = known(book, run_id)
    fields = {**about(run), "actor": actor, "reason": reason, "kind": "spend", "mechanism": to_record(mechanism)}
    return book.append("correction", {**fields, "corrects": str(run.entry.seq)}, mark=True)


def correct_clock(book: Book, *, actor: str, reason: str, approver: str) -> Entry:
    if not reason.strip() or not approver.strip() or approver == actor:
        raise LedgerError("to set the ledger's time back needs a reason, and an approver who is not the one who asks")
    if not book.clock_is_behind:
        raise LedgerError("the ledger's newest entry is not ahead of this clock; there is nothing to correct")
    fields = {"actor": actor, "reason": reason, "approver": approver, "kind": "clock", "newest": book.newest}
    return book.append("correction", fields, mark=True)


def known(book: Book, run_id: str) -> Run:
    run = book.run(run_id)
    if run is None:
        raise LedgerError(f"the ledger has no run {run_id}: reserve before starting")
    return run


def _is_drawn_at_once(run: Run) -> bool:
    """Whatever it releases it may have drawn already, without a word to the ledger."""
    return run.reserved is not None and not isinstance(run.reserved, PrivateTraining)


def _attempts(count: int) -> str:
    return "an attempt" if count == 1 else f"{count} attempts"


def about(run: Run) -> dict[str, Any]:
    """What every later entry of a run repeats, so that it is found with its data set."""
    fields = run.entry.fields
    return {name: fields[name] for name in ("run_id", "tenant", "dataset_id", "actor")}


def _same(commit: Entry, made: dict[str, str]) -> Entry:
    if commit.get("artifact_hash") != made["artifact_hash"]:
        raise LedgerError(
            f"run {commit.get('run_id')} was committed before (entry {commit.seq}), with another artefact; "
            "a second artefact is a second run"
        )
    return commit


def _last_progress(book: Book, run_id: str) -> Entry:
    return store.find(book.connection, run_id=run_id, type="progress")[-1]
