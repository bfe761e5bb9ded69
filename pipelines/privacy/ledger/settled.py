"""The last word of a run: what it is charged for in the end, and what its blocks have seen then."""

from dataclasses import replace
from typing import Any

from pipelines.privacy import accounting
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.book import Book
from pipelines.privacy.ledger.composition import chosen, compose
from pipelines.privacy.mechanisms import Mechanism, PrivateTraining, to_record

REPEATED = (
    "run_id",
    "tenant",
    "dataset_id",
    "dataset_version",
    "blocks",
    "unit",
    "relation",
    "delta",
    "actor",
    "output_kind",
)


def settled(book: Book, run: Run, *, steps: int | None) -> dict[str, Any]:
    """Fields of a commit: charged are the steps announced, or more if more were taken; without steps, everything."""
    fields = run.entry.fields
    own = {name: fields[name] for name in REPEATED if name in fields}
    if run.reserved is None:
        return {**own, "mechanism": {"kind": "none"}, "serving": "raw_input_internal"}
    spent = charged(run, steps)
    account = book.account(fields["tenant"], fields["dataset_id"])
    return {**own, **_costs(account, run, spent), **_steps(run, spent, steps)}


def charged(run: Run, steps: int | None) -> Mechanism:
    assert run.reserved is not None
    if not isinstance(run.reserved, PrivateTraining):
        return run.reserved
    return replace(run.reserved, steps=max(run.attempted, steps or 0))


def _costs(account: Account, run: Run, spent: Mechanism) -> dict[str, Any]:
    fields = run.entry.fields
    policy = account.policies[run.unit][0]
    after = chosen(account.histories(run.unit), run.blocks, less=run.counted, more=(spent, *run.added))
    return {
        "mechanism": to_record(spent),
        "epsilon": str(cost.epsilon([spent], float(fields["delta"]))),
        "renyi": str(cost.divergence(spent, policy.order)),
        "order": repr(policy.order),
        "cap": str(cost.cap(policy)),
        "accountant": accounting.ACCOUNTANT,
        "composed_after": [row.to_fields() for row in compose(after, policy)],
    }


def _steps(run: Run, spent: Mechanism, steps: int | None) -> dict[str, str]:
    """Planned, charged and said to be done; `overrun` where more was done than reserved, which nothing can undo."""
    if not isinstance(run.reserved, PrivateTraining) or not isinstance(spent, PrivateTraining):
        return {}
    over = spent.steps - run.reserved.steps
    told = {"planned": str(run.reserved.steps), "charged": str(spent.steps)}
    told |= {} if steps is None else {"done": str(steps)}
    return told | ({"overrun": str(over)} if over > 0 else {})
