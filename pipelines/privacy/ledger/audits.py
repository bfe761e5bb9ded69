"""Audits in the ledger: the design before the training begins, the result after it, and no result without a design.

Whoever may choose the number of guesses once the scores are known raises more false alarms than an audit admits to. So
a run has one design of a kind, written down before the run's first `start`, and a result has the figures of its design.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.errors import LedgerError
from pipelines.privacy.ledger.book import Book
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.mechanisms import Unit


@dataclass(frozen=True, kw_only=True)
class AuditDesign:
    """What is fixed beforehand. Numbers are of the audit's own canaries; none speaks of the people in the data."""

    run_id: str  # of the ledger, of the training that is audited; without privacy, any name of the audit's own
    tenant: str
    data_set: str
    kind: str  # one-run, white-box, two-world
    unit: Unit  # what one canary is
    canaries: int  # m; of a two-world test, the trials of each world
    guesses: int  # r; of a two-world test, both worlds' trials
    delta: float
    p: float  # chance of a false alarm
    tries: int  # how many bounds will be looked at
    score: str
    seed_hash: str
    canaries_hash: str
    claimed: str  # the claim's sentence, or that there is none


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found."""

    correct: int  # v
    lower_bound: float  # of epsilon, holds with confidence 1 - p
    claimed_epsilon: float | None
    verdict: Literal["violated", "consistent", "vacuous"]
    model_version: str = ""


def design(book: Book, planned: AuditDesign, *, actor: str) -> Entry:
    """Raises LedgerError for a run that has begun, or that has another design of this kind."""
    fields = {**_texts(planned), "phase": "design", "actor": actor}
    fields["dataset_id"] = fields.pop("data_set")
    step = f"audit-design:{planned.kind}"
    before = book.step(planned.run_id, step)
    if before is not None:
        if any(before.get(name) != value for name, value in fields.items() if name != "actor"):
            raise LedgerError(
                f"run {planned.run_id} has another {planned.kind} audit already (entry {before.seq}); "
                "its figures were fixed there, and a second audit is of a second run"
            )
        return before
    run = book.run(planned.run_id)
    if run is not None and run.attempts:
        raise LedgerError(
            f"run {planned.run_id} has begun, and the guesses of its audit would be chosen after the fact; "
            "audit a new run"
        )
    return book.append("audit", fields, step=step, mark=True)


def result(book: Book, run_id: str, kind: str, found: AuditResult, *, actor: str) -> Entry:
    """Raises LedgerError without a design, and for a result that its design can't have."""
    planned = book.step(run_id, f"audit-design:{kind}")
    if planned is None:
        raise LedgerError(
            f"no {kind} audit of run {run_id} was registered: fix canaries, guesses and seed before the training"
        )
    if not 0 <= found.correct <= int(planned.get("guesses")):
        raise LedgerError(
            f"{found.correct} right guesses can't be: the design (entry {planned.seq}) has {planned.get('guesses')}"
        )
    kept = {name: value for name, value in planned.fields.items() if name not in ("phase", "actor")}
    fields = {**kept, **_texts(found), "phase": "result", "design": str(planned.seq), "actor": actor}
    step = f"audit-result:{kind}"
    before = book.step(run_id, step)
    if before is not None and any(before.get(name) != value for name, value in fields.items() if name != "actor"):
        raise LedgerError(f"the {kind} audit of run {run_id} has another result already (entry {before.seq})")
    return before or book.append("audit", fields, step=step, mark=True)


def _texts(record: Any) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str) else repr(value)
        for name, value in asdict(record).items()
        if value is not None
    }
