"""Runs whose process is gone: settled at what they may have spent. No timeout ever frees anything."""

from pipelines.privacy.ledger import store
from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.book import Book
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.lifecycle import about
from pipelines.privacy.ledger.settled import settled


def dead(account: Account, gone: tuple[str, ...] = ()) -> list[Run]:
    """Open runs whose last process has surely ended, or was on a host that a person says is gone."""
    return [run for run in account.runs.values() if run.is_open and _is_gone(run, gone)]


def reap(book: Book, gone: tuple[str, ...]) -> list[Entry]:
    return [_settle(book, run) for run in dead(Account.of(store.find(book.connection)), gone)]


def _is_gone(run: Run, gone: tuple[str, ...]) -> bool:
    owner = run.attempts[-1].owner if run.attempts else run.owner
    return owner.is_gone or owner.host in gone


def _settle(book: Book, run: Run) -> Entry:
    """Never started: given back. Started: committed at the announced bound, or in full if nothing was announced."""
    if not run.attempts:
        return book.append("release", {**about(run), "actor": "reaper"}, step="release")
    fields = {**settled(book, run, steps=None), "actor": "reaper", "artifact_hash": "", "reaped": True}
    return book.append("commit", fields, step="commit", mark=True)
