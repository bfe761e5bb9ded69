"""Why a run may not spend: every rule answers None, or the refusal with its reason for machines and for people.

The rules go from what the request says of itself to what is left in the blocks; the first that objects is the answer.
"""

from typing import Any

from pipelines.privacy import accounting
from pipelines.privacy.claim import rounded_up
from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger import request_rules as request
from pipelines.privacy.ledger.blocks import fold
from pipelines.privacy.ledger.case import Case, Refusal, Rule
from pipelines.privacy.ledger.composition import chosen, lacking
from pipelines.privacy.ledger.offers import offers


def first_refusal(case: Case) -> Refusal | None:
    return next((refusal for rule in RULES if (refusal := rule(case))), None)


def policy(case: Case) -> Refusal | None:
    charge, policies = case.charge, case.account.policies
    if charge.unit not in policies:
        other = f"; it has one for {', '.join(sorted(policies))}" if policies else ""
        return Refusal(
            "no_policy",
            f"data set {charge.data_set!r} of {charge.tenant!r} has no budget for unit {charge.unit}{other}; "
            "its owner grants one: flockcast budget grant",
        )
    until = case.policy.valid_until
    if until is not None and case.now > until:
        return Refusal(
            "expired", f"the budget of {charge.data_set!r} ended {until.isoformat()}; its owner may renew it"
        )
    if case.policy.spenders and case.actor not in case.policy.spenders:
        return Refusal(
            "spender",
            f"{case.actor!r} may not spend the budget of {charge.data_set!r}; who may: "
            f"{', '.join(case.policy.spenders)}",
        )
    return None


def delta(case: Case) -> Refusal | None:
    """All mechanisms are told together at the policy's delta, spent once; none has a chance of failure of its own."""
    asked, allowed = case.charge.delta, case.policy
    if not 0 < asked < 1:
        return Refusal("delta", f"delta is {asked}; it must lie between 0 and 1")
    if allowed.units is not None and asked * allowed.units >= 1:
        return Refusal(
            "delta", f"delta {asked:g} is no less than 1 / {allowed.units} units; choose at most a tenth of it"
        )
    if asked > allowed.delta:
        return Refusal("delta", f"delta {asked:g} is above the {allowed.delta:g} of the budget")
    return None


def budget(case: Case) -> Refusal | None:
    asked = case.charge.mechanism
    if not cost.divergence(asked, case.policy.order).is_finite():
        return Refusal("mechanism", f"at order {case.policy.order:g} this mechanism has no finite cost; add noise")
    histories = chosen(case.account.histories(case.charge.unit), case.charge.blocks)
    over = lacking(histories, asked, case.policy)
    if not over:
        return None
    offer = offers(asked, histories, over, case.policy)
    ranges, shortfall = fold(over), max(over.values())
    worst = max(over, key=lambda block: over[block])
    together = cost.epsilon((*histories[worst], asked), case.policy.delta)
    needed = 1 + shortfall / cost.cap(case.policy)
    message = (
        f"this run would take {'block' if len(over) == 1 else 'blocks'} {_few(ranges)} of {case.charge.data_set!r} to "
        f"epsilon {rounded_up(float(together))} of {case.policy.epsilon:g} (unit {case.charge.unit}, delta "
        f"{case.policy.delta:g}, {accounting.ACCOUNTANT}), "
        f"{needed:.0%} of what its filter (Rényi, order {case.policy.order:g}) admits; "
        f"{_offered(offer)}; nothing was spent"
    )
    return Refusal("over_cap", message, {"over": ranges, "shortfall": str(shortfall), "offer": offer})


RULES: tuple[Rule, ...] = (
    request.mechanism,
    request.sampler,
    request.randomness,
    request.revision,
    policy,
    request.unit,
    request.blocks,
    request.windowing,
    request.version,
    delta,
    budget,
)


def _few(ranges: list[str]) -> str:
    return ", ".join(ranges[:3]) + (f" and {len(ranges) - 3} more" if len(ranges) > 3 else "")


def _offered(offer: dict[str, Any]) -> str:
    words = {
        "steps": lambda steps: f"at most {int(steps):,} steps",
        "noise_multiplier": lambda noise: f"a noise multiplier of {noise}",
        "scale": lambda noise: f"noise of scale {noise}",
        "blocks": lambda ranges: f"blocks {_few(ranges)} alone",
    }
    told = [words[name](value) for name, value in offer.items()]
    return f"what would fit: {', or '.join(told)}" if told else "nothing of the kind would fit"
