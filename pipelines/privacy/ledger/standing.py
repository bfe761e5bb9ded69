"""Where the budgets stand: of each block its cap, what is spent, reserved and left, and by which runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from pipelines.privacy import accounting
from pipelines.privacy.claim import WHOM
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.blocks import fold_equal, within
from pipelines.privacy.ledger.chain import Entry
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import Mechanism


@dataclass(frozen=True)
class Row:
    """Consecutive blocks that the same runs read. Epsilons are at the policy's delta; `left` is what the filter has."""

    blocks: str
    spent: Decimal  # epsilon of what is committed
    with_reserved: Decimal  # epsilon of that and of what is reserved
    settled: Decimal  # share of the filter's cap that is committed
    left: Decimal  # share of it that is neither committed nor reserved, 0 to 1
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Standing:
    policy: Policy
    granted: Entry
    rows: tuple[Row, ...]
    runs: tuple[Run, ...]
    unprotected: tuple[Run, ...] = ()  # runs without privacy on the same data, which no budget bounds
    other_units: tuple[str, ...] = ()  # that have budgets of their own on the same data

    @property
    def sentence(self) -> str:
        """The promise, as far as it may be spent."""
        policy = self.policy
        whom = WHOM[policy.unit] + (f" over {policy.span}" if policy.span else "")
        return (
            f"Protects {whom}: epsilon at most {policy.epsilon:g}, delta = {policy.delta:.3g}, all runs of this unit "
            f"on a block together ({accounting.ACCOUNTANT}; enforced by a Rényi filter of order {policy.order:g})"
        )

    @property
    def beside(self) -> str:
        """What the promise does not bound; empty where nothing of the kind was done."""
        left_out = []
        if self.other_units:
            units = " and ".join(self.other_units)
            left_out.append(f"what runs of unit {units} spend on the same data, counted separately")
        if self.unprotected:
            ids = ", ".join(run.run_id for run in self.unprotected)
            left_out.append(f"what runs without privacy made ({len(self.unprotected)}), inside the house ({ids})")
        return f"not bounded by it: {'; '.join(left_out)}" if left_out else ""


def standings(
    entries: Iterable[Entry], *, tenant: str | None, data_set: str | None, blocks: str | None
) -> list[Standing]:
    accounts: dict[tuple[str, str], Account] = {}
    for entry in entries:
        accounts.setdefault((entry.get("tenant"), entry.get("dataset_id")), Account()).add(entry)
    wanted = [
        account
        for (owner, called), account in sorted(accounts.items())
        if tenant in (None, owner) and data_set in (None, called)
    ]
    return [_standing(account, unit, blocks) for account in wanted for unit in sorted(account.policies)]


def _standing(account: Account, unit: str, chosen: str | None) -> Standing:
    policy, granted = account.policies[unit]
    runs = tuple(run for run in account.runs.values() if run.unit == unit)
    on: dict[str, list[str]] = {}
    for run in runs:
        if run.counted:
            for block in run.blocks:
                if within(block, chosen):
                    on.setdefault(block, []).append(run.run_id)
    alike = {block: tuple(ids) for block, ids in on.items()}
    rows = tuple(_row(blocks, ids, account, policy) for blocks, ids in fold_equal(alike))
    unprotected = tuple(run for run in account.runs.values() if run.reserved is None)
    return Standing(policy, granted, rows, runs, unprotected, tuple(sorted({*account.policies} - {unit})))


def _row(blocks: str, ids: tuple[str, ...], account: Account, policy: Policy) -> Row:
    runs = [account.runs[run_id] for run_id in ids]
    counted = [mechanism for run in runs for mechanism in run.counted]
    spent: list[Mechanism] = [mechanism for run in runs if not run.is_open for mechanism in run.counted]
    cap = cost.cap(policy)
    return Row(
        blocks=blocks,
        spent=cost.epsilon(spent, policy.delta),
        with_reserved=cost.epsilon(counted, policy.delta),
        settled=cost.total(spent, policy.order) / cap,
        left=max(1 - cost.total(counted, policy.order) / cap, Decimal(0)),
        runs=ids,
    )
