"""What the blocks of a data set have seen together, blocks with equal pasts worked out once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.blocks import fold_equal
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import Mechanism

History = tuple[Mechanism, ...]


@dataclass(frozen=True)
class Composed:
    """`divergence` is what the filter counts; `epsilon`, at the policy's delta, is what the accountant reports."""

    blocks: str  # first..last
    divergence: Decimal
    epsilon: Decimal

    def to_fields(self) -> dict[str, str]:
        return {"blocks": self.blocks, "renyi": str(self.divergence), "epsilon": str(self.epsilon)}


def compose(histories: Mapping[str, History], policy: Policy) -> list[Composed]:
    """Of every block, consecutive blocks with an equal past in one row."""
    alike = {block: tuple(sorted(history, key=repr)) for block, history in histories.items()}
    return [
        Composed(blocks, cost.total(history, policy.order), cost.epsilon(history, policy.delta))
        for blocks, history in fold_equal(alike)
    ]


def chosen(histories: Mapping[str, History], blocks: Sequence[str], extra: History = ()) -> dict[str, History]:
    """The pasts of `blocks`, each with `extra` behind it."""
    return {block: (*histories.get(block, ()), *extra) for block in blocks}


def lacking(histories: Mapping[str, History], extra: Mechanism, policy: Policy) -> dict[str, Decimal]:
    """By how much `extra` would overrun the cap, of the blocks that it would overrun."""
    cap, more = cost.cap(policy), cost.divergence(extra, policy.order)
    spent: dict[History, Decimal] = {}
    found = {}
    for block, history in histories.items():
        if history not in spent:
            spent[history] = cost.total(history, policy.order)
        if (over := spent[history] + more - cap) > 0:
            found[block] = over
    return found
