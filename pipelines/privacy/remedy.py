"""Which budget would admit a charge, and the command that grants it: for whoever is refused, or asks beforehand."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.errors import BudgetRefused
from pipelines.privacy import renyi
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.case import Case
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.ledger.refusals import first_refusal
from pipelines.privacy.mechanisms import Mechanism

FINENESS = 1.002  # steps in which a budget that suffices is looked for
REASONS = {"counts": "counts released once", "weights": "one private training", "metric": "one private figure"}


def reserve(ledger: Ledger, charge: Charge) -> None:
    """Raises BudgetRefused, with the command that helps where there is no budget yet."""
    try:
        ledger.reserve(charge)
    except BudgetRefused as refused:
        told = _with_remedy(refused.reason, str(refused), charge, ledger)
        raise BudgetRefused(told, refusal=refused.refusal, entry=refused.entry) from None


def objection(ledger: Ledger, charge: Charge) -> str | None:
    """Why the ledger would refuse the charge if it came now, as far as can be told without asking it."""
    account = Account.of(ledger.entries(tenant=charge.tenant, data_set=charge.data_set))
    case = Case(charge, "", account, {}, datetime.now(UTC), ledger.for_tests)
    policy = account.policies.get(charge.unit)
    if policy is not None and policy[0].spenders:  # who asks is the ledger's to find out
        case = Case(charge, policy[0].spenders[0], account, {}, case.now, ledger.for_tests)
    refusal = first_refusal(case)
    if refusal is None:
        return None
    return f"refused: {_with_remedy(refusal.reason, refusal.message, charge, ledger)}"


@dataclass(frozen=True)
class Budget:
    """One that admits a mechanism once; `order` is that of its filter, None where the usual one does as well."""

    epsilon: float
    order: float | None


def sufficient(mechanism: Mechanism, *, delta: float) -> Budget:
    """The smallest budget, to three figures.

    Its epsilon is a little above that of the claim: a budget is enforced at one Rényi order, which stays valid when
    later spends depend on what earlier ones gave, and that is not as tight as the accountant who reports. The usual
    order suits Gaussian noise; for geometric noise, whose loss has an end, a high one is much better.
    """
    least = min(renyi.epsilon_of(renyi.renyi(mechanism, order), order=order, delta=delta) for order in renyi.ORDERS)
    epsilon = _rounded_up(least)
    while not (orders := [order for order in renyi.ORDERS if _admits(epsilon, order, mechanism, delta)]):
        epsilon = _rounded_up(epsilon * FINENESS)
    usual = renyi.best_order(epsilon=epsilon, delta=delta)
    return Budget(epsilon, None if usual in orders else orders[len(orders) // 2])


def _rounded_up(epsilon: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return float(f"{math.ceil(epsilon / unit) * unit:.3g}")


def _admits(epsilon: float, order: float, mechanism: Mechanism, delta: float) -> bool:
    if renyi.epsilon_of(0.0, order=order, delta=delta) >= epsilon:
        return False
    policy = Policy(tenant="t", data_set="d", unit="trip", epsilon=epsilon, delta=delta, order=order)
    return cost.divergence(mechanism, order) <= cost.cap(policy)


def _with_remedy(reason: str, message: str, charge: Charge, ledger: Ledger) -> str:
    """The refusal, and the command that helps where there is no budget yet, or one that never admits such a run."""
    if reason == "no_policy":
        return (
            f"{message.removesuffix(': flockcast budget grant')}. This one admits it once:\n  {grant_command(charge)}"
        )
    if reason == "over_cap" and not _is_ever_admitted(charge, ledger):
        return f"{message}. Not even an untouched block admits it; this budget does, once:\n  {grant_command(charge)}"
    return message


def _is_ever_admitted(charge: Charge, ledger: Ledger) -> bool:
    account = Account.of(ledger.entries(tenant=charge.tenant, data_set=charge.data_set))
    policy, _ = account.policies[charge.unit]
    return cost.divergence(charge.mechanism, policy.order) <= cost.cap(policy)


def grant_command(charge: Charge) -> str:
    tenant = f" --tenant {charge.tenant}" if charge.tenant != "default" else ""
    span = f" --span '{charge.span}'" if charge.span else ""
    budget = sufficient(charge.mechanism, delta=charge.delta)
    order = f" --order {budget.order:g}" if budget.order else ""
    return (
        f"flockcast budget grant {charge.data_set}{tenant} --unit {charge.unit}{span} --epsilon {budget.epsilon:g} "
        f"--delta {charge.delta:g}{order} --reason '{REASONS[charge.output_kind]}'"
    )
