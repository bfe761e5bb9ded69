"""Rules about what a request says of itself: its mechanism, its sampling, its noise, its code, its data."""

from pipelines.privacy.ledger.blocks import EXAMPLE, is_block
from pipelines.privacy.ledger.case import Case, Refusal
from pipelines.privacy.ledger.records import Charge
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, from_record, to_record

RELATIONS = ("add or remove", "zero out")
UNKNOWN = ("", "unknown")


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
    training = case.training
    if training is None or case.charge.sampler == training.sampling:
        return None
    if case.charge.sampler is None:
        return Refusal(
            "sampler",
            f"the run does not say how it draws samples, and the accounting takes {training.sampling!r} for granted; "
            "say so in the charge's sampler",
        )
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
    charge, training = case.charge, case.training
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


def _group_size(charge: Charge) -> int | None:
    """In how many samples one unit is at most; None if the request does not say enough."""
    if charge.unit == "window":
        return 1
    slots = 1 if charge.unit == "slot" else charge.slots_per_unit
    if charge.window is None or charge.stride is None or slots is None:
        return charge.windows  # all of them, at worst
    found = -(-(slots + charge.window - 1) // charge.stride)  # as `units.windows_of`, whose parts are one here
    return found if charge.windows is None else min(found, charge.windows)
