"""What a release costs, and whether the budget has it."""

import hashlib
import json
import math
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from pipelines.errors import BudgetRefused
from pipelines.privacy import accounting, renyi
from pipelines.privacy.claim import Claim
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.case import Case
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.ledger.refusals import first_refusal
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease
from pipelines.privacy.release.domain import Domain
from pipelines.privacy.release.drawing import Release
from pipelines.sources import Sources
from pipelines.spec import LongData, WideData

RELATION = "add or remove"
FINENESS = 1.002  # steps in which a budget that suffices is looked for


@dataclass(frozen=True)
class Draw:
    """Noise that is about to be drawn on these periods."""

    domain: Domain
    periods: tuple[str, ...]
    mechanism: Release
    sources: Sources

    @property
    def claim(self) -> Claim:
        privacy = self.domain.privacy
        return Claim(
            unit=privacy.unit,
            relation=RELATION,
            epsilon=accounting.epsilon([self.mechanism], delta=privacy.delta),
            delta=privacy.delta,
            accountant=accounting.ACCOUNTANT,
            mechanism=self.mechanism,
            span=privacy.span,
            assumptions=assumptions(self.domain),
        )

    def charge(self) -> Charge:
        """A run of its own: drawing the same periods again would be another one, and cost as much again."""
        privacy = self.domain.privacy
        return Charge(
            run_id=f"release-{secrets.token_hex(8)}",
            tenant=privacy.tenant,
            data_set=self.domain.data_set,
            data_set_version=self._version,
            sources=self._hashes,
            blocks=self.periods,
            unit=privacy.unit,
            relation=RELATION,
            mechanism=self.mechanism,
            delta=privacy.delta,
            config_hash=self.domain.spec.digest(),
            span=privacy.span,
            contribution_bound=self._bound,
            output_kind="counts",
        )

    @property
    def _hashes(self) -> tuple[str, ...]:
        """Of the files with rows of people; a zone table has none, and may serve many data sets."""
        return tuple(sorted(set(self.sources.of_rows.values())))

    @property
    def _version(self) -> str:
        return hashlib.sha256(json.dumps([self.domain.recipe, self._hashes]).encode()).hexdigest()[:16]

    @property
    def _bound(self) -> dict[str, str]:
        privacy = self.domain.privacy
        if self.domain.counts == "series":
            return {"kind": "vouched", "nodes_at_a_time": str(self.domain.nested)}
        if privacy.unit == "trip":
            return {"kind": "each trip by itself"}
        k, c = privacy.trips_per_unit or 1, privacy.trips_per_cell
        return {"kind": "keyed hash", "trips_per_unit": str(k), "trips_per_cell": str(min(k, c))}


def assumptions(domain: Domain) -> tuple[str, ...]:
    privacy = domain.privacy
    if domain.counts == "series":
        most = "one node" if domain.nested == 1 else f"{domain.nested} nodes"
        if is_of_totals(domain):
            return (f"a person adds at most one to the running total of {most} in a step, and is never taken off",)
        return (f"a person is in {most} at most at a time and counts once a step",)
    return (f"a person has one id in column {privacy.person!r}",) if privacy.person else ()


def is_of_totals(domain: Domain) -> bool:
    """Whether what is released is by how much running totals grew; of counts of who is present, whoever leaves would
    be in a second step, and on a later day perhaps."""
    data = domain.spec.data
    return isinstance(data, LongData | WideData) and data.difference


def reserve(ledger: Ledger, charge: Charge) -> None:
    """Raises BudgetRefused, with the command that helps where there is no budget yet."""
    try:
        ledger.reserve(charge)
    except BudgetRefused as refused:
        if refused.reason != "no_policy":
            raise
        raise BudgetRefused(_remedy(str(refused), charge), refusal=refused.refusal, entry=refused.entry) from None


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
    return _remedy(refusal.message, charge) if refusal.reason == "no_policy" else refusal.message


@dataclass(frozen=True)
class Budget:
    """One that admits a mechanism once; `order` is that of its filter, None where the usual one does as well."""

    epsilon: float
    order: float | None


def sufficient(mechanism: Release, *, delta: float) -> Budget:
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


def _admits(epsilon: float, order: float, mechanism: Release, delta: float) -> bool:
    if renyi.epsilon_of(0.0, order=order, delta=delta) >= epsilon:
        return False
    policy = Policy(tenant="t", data_set="d", unit="trip", epsilon=epsilon, delta=delta, order=order)
    return cost.divergence(mechanism, order) <= cost.cap(policy)


def _remedy(message: str, charge: Charge) -> str:
    return f"{message}\n  {grant_command(charge)}\nadmits this release, once on each period, and nothing more"


def grant_command(charge: Charge) -> str:
    tenant = f" --tenant {charge.tenant}" if charge.tenant != "default" else ""
    span = f" --span '{charge.span}'" if charge.span else ""
    assert isinstance(charge.mechanism, GaussianRelease | GeometricRelease)
    budget = sufficient(charge.mechanism, delta=charge.delta)
    order = f" --order {budget.order:g}" if budget.order else ""
    return (
        f"flockcast budget grant {charge.data_set}{tenant} --unit {charge.unit}{span} --epsilon {budget.epsilon:g} "
        f"--delta {charge.delta:g}{order} --reason 'counts released once'"
    )
