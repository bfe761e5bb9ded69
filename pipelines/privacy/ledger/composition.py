"""What the blocks of a data set have seen together, blocks with equal pasts worked out once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.blocks import fold_equal
from pipelines.privacy.ledger.past import UNTOUCHED, Past
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import Mechanism


@dataclass(frozen=True)
class Composed:
    """`divergence` is what the filter counts; `epsilon`, at the policy's delta, is what it promises for that.

    This epsilon holds however later runs were chosen by the results of earlier ones, and comes from a sum. The
    accountant's, which people are shown, is lower, but takes seconds where many mechanisms met: whoever asks for it has
    it worked out from `past`.
    """

    blocks: str  # first..last
    past: Past
    divergence: Decimal
    epsilon: Decimal

    def to_fields(self) -> dict[str, str]:
        return {"blocks": self.blocks, "renyi": str(self.divergence), "epsilon": str(self.epsilon)}


def compose(pasts: Mapping[str, Past], policy: Policy) -> list[Composed]:
    """Of every block, consecutive blocks with an equal past in one row."""
    rows = []
    for blocks, past in fold_equal(pasts):
        divergence = cost.spent(past, policy.order)
        rows.append(Composed(blocks, past, divergence, cost.promised(divergence, policy)))
    return rows


def chosen(
    pasts: Mapping[str, Past], blocks: Sequence[str], *, less: Iterable[Mechanism] = (), more: Iterable[Mechanism] = ()
) -> dict[str, Past]:
    """The pasts of `blocks`, each with `less` taken off and `more` done."""
    less, more = tuple(less), tuple(more)
    after: dict[Past, Past] = {}
    found = {}
    for block in blocks:
        past = pasts.get(block, UNTOUCHED)
        if past not in after:
            after[past] = past.changed(less=less, more=more)
        found[block] = after[past]
    return found


def lacking(pasts: Mapping[str, Past], extra: Mechanism, policy: Policy) -> dict[str, Decimal]:
    """By how much `extra` would overrun the cap, of the blocks that it would overrun."""
    left = cost.cap(policy) - cost.divergence(extra, policy.order)
    over = {block: cost.spent(past, policy.order) - left for block, past in pasts.items()}
    return {block: amount for block, amount in over.items() if amount > 0}
