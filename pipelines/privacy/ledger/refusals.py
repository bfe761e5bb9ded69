"""Why a run may not spend: every rule answers None, or the refusal with its reason for machines and for people.

The rules go from what the request says of itself to what is left in the blocks; the first that objects is the answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.blocks import EXAMPLE, fold, is_block
from pipelines.privacy.ledger.composition import chosen, lacking
from pipelines.privacy.ledger.offers import offers
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.mechanisms import (
    GaussianRelease,
    GeometricRelease,
    PrivateTraining,
    RandomStopping,
    from_record,
    to_record,
)

RELATIONS = ("add or remove", "zero out")
UNKNOWN = ("", "unknown")


@dataclass(frozen=True)
class Refusal:
    reason: str
    message: str
    more: dict[str, Any] = field(default_factory=dict)

    def to_fields(self) -> dict[str, Any]:
        return {"reason": self.reason, "message": self.message, **self.more}


@dataclass(frozen=True)
class Case:
    """A request and all that bears on it. `elsewhere` has the data set that a source was first read under."""

    charge: Charge
    actor: str
    account: Account
    elsewhere: dict[str, str]
    now: datetime
    for_tests: bool

    @property
    def policy(self) -> Policy:
        return self.account.policies[self.charge.unit][0]


Rule = Callable[[Case], Refusal | None]


def first_refusal(case: Case) -> Refusal | None:
    return next(_refusals(case), None)


def _refusals(case: Case) -> Iterator[Refusal]:
    for rule in RULES:
        refusal = rule(case)
        if refusal:
            yield refusal


def mechanism(case: Case) -> Refusal | None:
    """A noise of zero or a clipping norm without end is no mechanism, however it was made."""
    try:
        from_record(to_record(case.charge.mechanism))
    except ValueError as error:
        return Refusal("mechanism", f"{error}; nothing can be charged for it")
    if case.charge.relation not in RELATIONS:
        return Refusal(
            "relation", f"relation {case.charge.relation!r} is not accounted for; it is {' or '.join(RELATIONS)}"
        )
    return None


def sampler(case: Case) -> Refusal | None:
    training = _training(case.charge)
    if training is None or case.charge.sampler in (None, training.sampling):
        return None
    return Refusal(
        "sampler",
        f"samples are drawn by {case.charge.sampler!r} but the accounting takes {training.sampling!r} for granted; "
        "the cost would be wrong, so draw them as accounted for",
    )


def randomness(case: Case) -> Refusal | None:
    if case.for_tests or case.charge.rng == "os_csprng":
        return None
    return Refusal(
        "test_rng",
        f"noise from the generator {case.charge.rng!r} can be drawn again by whoever knows its seed; use the system's",
    )


def revision(case: Case) -> Refusal | None:
    code = case.charge.code_revision
    if case.for_tests or not (code in UNKNOWN or code.endswith("+")):
        return None
    what = "unknown" if code in UNKNOWN else f"{code[:12]} with changes that are not committed"
    return Refusal(
        "code_revision", f"the code is {what}: nobody could say later what ran; commit the changes, then run again"
    )


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


def unit(case: Case) -> Refusal | None:
    """A person's protection rests on a bound of what a person adds; windows are blanked whole, whoever is in them."""
    charge = case.charge
    counts = isinstance(charge.mechanism, GaussianRelease | GeometricRelease)
    if charge.unit.startswith("user") and counts and not charge.contribution_bound:
        return Refusal(
            "unit",
            f"unit {charge.unit} needs a person key and a bound of what one person adds, and this run has none; "
            "bound the contributions, or ask for unit trip or slot",
        )
    if charge.span != case.policy.span:
        return Refusal(
            "span",
            f"the budget protects a person over {case.policy.span!r}, the run over {charge.span!r}; they must agree",
        )
    return None


def blocks(case: Case) -> Refusal | None:
    kind = case.policy.block
    wrong = [block for block in case.charge.blocks if not is_block(block, kind)]
    if kind == "span":
        wrong = [block for block in case.charge.blocks if block != case.policy.span]
    if not case.charge.blocks or wrong:
        said = f"{wrong[0]!r} is none" if wrong else "the run names none"
        return Refusal("blocks", f"blocks of unit {case.charge.unit} look like {EXAMPLE[kind]!r}; {said}")
    return None


def windowing(case: Case) -> Refusal | None:
    """A unit in more samples than accounted for would be protected less than is said."""
    charge, training = case.charge, _training(case.charge)
    if training is None:
        return None
    if training.sampling == "tiling":
        if charge.unit in ("window", "slot"):
            return None
        return Refusal("group_size", f"of disjoint tiles a whole {charge.unit} lies in several; sample windows instead")
    expected = _group_size(charge)
    if expected is None:
        return Refusal(
            "group_size",
            f"unit {charge.unit}: window, stride and slots_per_unit are needed to tell how many samples it is in",
        )
    if training.group_size >= expected:
        return None
    return Refusal(
        "group_size",
        f"with windows of {charge.window} slots and stride {charge.stride} one {charge.unit} is in up to {expected} "
        f"samples, but the run accounts for {training.group_size}",
        {"expected": str(expected)},
    )


def version(case: Case) -> Refusal | None:
    charge = case.charge
    if charge.data_set_version in UNKNOWN or not charge.sources:
        return Refusal("data_set_version", f"the version and files of data set {charge.data_set!r} are unknown")
    known = case.account.versions.get(charge.data_set_version)
    if known is not None and sorted(known) != sorted(charge.sources):
        return Refusal(
            "data_set_version",
            f"version {charge.data_set_version[:12]} of {charge.data_set!r} was read from other files before; "
            "files that changed are a new version: ingest them again",
        )
    if case.elsewhere:
        where = sorted(set(case.elsewhere.values()))
        return Refusal(
            "renamed",
            f"{len(case.elsewhere)} of the files of {charge.data_set!r} were read before as {', '.join(where)}; "
            "a new name brings no new budget: charge them under the name that they have",
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
    together = max(cost.epsilon((*histories[block], asked), case.policy.delta) for block in _distinct(histories, over))
    needed = 1 + shortfall / cost.cap(case.policy)
    message = (
        f"this run would take {'block' if len(over) == 1 else 'blocks'} {_few(ranges)} of {case.charge.data_set!r} to "
        f"epsilon {together:.3g} of {case.policy.epsilon:g} (unit {case.charge.unit}, delta {case.policy.delta:g}), "
        f"{needed:.0%} of what its filter (Rényi, order {case.policy.order:g}) admits; {_offered(offer)}; nothing was spent"
    )
    return Refusal("over_cap", message, {"over": ranges, "shortfall": str(shortfall), "offer": offer})


RULES: tuple[Rule, ...] = (
    mechanism,
    sampler,
    randomness,
    revision,
    policy,
    unit,
    blocks,
    windowing,
    version,
    delta,
    budget,
)


def _training(charge: Charge) -> PrivateTraining | None:
    if isinstance(charge.mechanism, RandomStopping):
        return charge.mechanism.trial
    return charge.mechanism if isinstance(charge.mechanism, PrivateTraining) else None


def _group_size(charge: Charge) -> int | None:
    """In how many samples one unit is at most; None if the request does not say enough."""
    if charge.unit == "window":
        return 1
    slots = 1 if charge.unit == "slot" else charge.slots_per_unit
    if charge.window is None or charge.stride is None or slots is None:
        return charge.windows  # all of them, at worst
    found = -(-(slots + charge.window - 1) // charge.stride)  # as `units.windows_of`, whose parts are one here
    return found if charge.windows is None else min(found, charge.windows)


def _distinct(histories: dict[str, Any], over: Any) -> list[str]:
    """One block of each past."""
    return list({histories[block]: block for block in over}.values())


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
