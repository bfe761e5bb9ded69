"""Giving a budget, or changing one: always a new entry, and never a way to forget what was spent."""

from datetime import UTC
from typing import Any

from pipelines.errors import PolicyError
from pipelines.privacy import renyi
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.book import Book
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.records import Policy, require_finite
from pipelines.privacy.units import MOST_DELTA, default_delta


def proposed(*, epsilon: float, delta: float | None, order: float | None, units: int | None, **terms: Any) -> Policy:
    """A policy with what was left open filled in: a delta that suits the units, the order that admits most.

    Raises PolicyError for what makes no sense.
    """
    require_finite(epsilon)
    if delta is not None and MOST_DELTA < delta < 1 and units is None:
        raise PolicyError(
            f"delta {delta:g} is above {MOST_DELTA:g}: say with --units how many units there are at least, "
            "since it must be far below one in their number"
        )
    try:
        chosen = default_delta(units) if delta is None else delta
        best = renyi.best_order(epsilon=epsilon, delta=chosen) if order is None else order
    except ValueError as error:
        raise PolicyError(str(error)) from None
    until = terms.pop("valid_until")
    until = until.replace(tzinfo=UTC) if until is not None and until.tzinfo is None else until
    return Policy(epsilon=epsilon, delta=chosen, order=best, units=units, valid_until=until, **terms)


def grant(
    book: Book, policy: Policy, *, actor: str, reason: str, approver: str | None, separately: bool = False
) -> Entry:
    """Write the policy. A change of one that stands needs an approver other than the one who asks.

    Of a data set with a budget for another unit, one more is given only `separately`: no spend counts in both.
    """
    if not reason.strip():
        raise PolicyError("a budget needs a reason, which an auditor will read")
    try:
        cap = cost.cap(policy)
    except ValueError as error:  # the order admits nothing
        raise PolicyError(str(error)) from None
    standing = book.account(policy.tenant, policy.data_set).policies
    before = standing.get(policy.unit)
    fields: dict[str, Any] = {**policy.to_fields(), "cap": str(cap), "actor": actor, "reason": reason}
    if before is not None:
        if before[0] == policy:
            return before[1]
        _check_change(before[0], policy, actor=actor, approver=approver)
        fields["supersedes"] = str(before[1].seq)
    elif standing:
        _check_second(policy, sorted(standing), separately=separately)
        fields["separately"] = True
    if approver:
        fields["approver"] = approver
    return book.append("policy", fields, mark=True)


def _check_second(policy: Policy, others: list[str], *, separately: bool) -> None:
    if not separately:
        raise PolicyError(
            f"{policy.data_set!r} has a budget for unit {', '.join(others)}, and spends of one unit are not counted in "
            "the other: who is in the data of one is in those of the other too, so their losses add up and neither "
            "budget bounds the sum. If that is what its owner wants: --separately"
        )


def _check_change(before: Policy, policy: Policy, *, actor: str, approver: str | None) -> None:
    if before.span != policy.span:
        raise PolicyError(
            f"the budget of {policy.data_set!r} protects a person over {before.span!r}; another span would be a fresh "
            "budget for the same data"
        )
    if not approver or approver == actor:
        raise PolicyError(
            f"{policy.data_set!r} has a budget (epsilon {before.epsilon:g}, delta {before.delta:g}, unit "
            f"{before.unit}); a change needs an approver, who is not the one who asks for it"
        )
