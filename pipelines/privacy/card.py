"""The words of a model card: what is promised of a private model, what is not, and how anyone can check it."""

import math
from collections.abc import Mapping

from pipelines.privacy.accounting import ACCOUNTANT, epsilon
from pipelines.privacy.claim import Claim, Protection, rounded_up
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, Mechanism, PrivateTraining, RandomStopping

LONGER = {"user_day": ("days", (7, 30)), "user_week": ("weeks", (4, 13)), "user": ("spans like this", (2, 4))}
VERDICTS = {
    "consistent": "an attack on a run like this one found nothing against the claim, which it can refute but not prove",
    "vacuous": "the attack was too weak to refute this claim, so it says nothing",
    "violated": "the attack got more out of the model than the claim allows; do not publish anything of it",
}


def mechanism_in_words(mechanism: Mechanism) -> str:
    """One sentence."""
    match mechanism:
        case GaussianRelease(sensitivity=most, scale=scale):
            noise, norm = f"integer Gaussian noise of standard deviation {scale:.4g}", f"an L2 norm of {most:.4g}"
        case GeometricRelease(sensitivity=most, scale=scale):
            a = math.exp(-1 / scale)
            std = math.sqrt(2 * a) / (1 - a)
            noise, norm = f"two-sided geometric noise of standard deviation {std:.4g}", f"an L1 norm of {most:.4g}"
        case PrivateTraining():
            return f"The network was trained by DP-SGD: {_steps(mechanism)}."
        case RandomStopping(trial=trial, eta=eta, gamma=gamma):
            return (
                "A number of private trainings that was drawn beforehand (truncated negative binomial, "
                f"eta {eta:g}, gamma {gamma:g}), of which the best alone was kept; each was DP-SGD: {_steps(trial)}."
            )
    return (
        f"What one unit adds to the counts was bounded to {norm}, and each count was released once with {noise}; "
        "graphs, training, scores and forecasts read that release alone."
    )


def _steps(training: PrivateTraining) -> str:
    tiles = "disjoint windows from a random offset" if training.sampling == "tiling" else "windows"
    units = f"; a unit is in up to {training.group_size} windows" if training.group_size > 1 else ""
    return (
        f"{training.steps:,} steps, each on {tiles} taken by chance {training.sample_rate:.4g}, the gradient of a "
        f"window clipped to norm {training.max_grad_norm:g}, with Gaussian noise of {training.noise_multiplier:.4g} "
        f"times that norm in their sum{units}"
    )


def generator_in_words(mechanism: Mechanism) -> str:
    if isinstance(mechanism, GaussianRelease | GeometricRelease):
        return (
            "OpenDP's exact samplers drew the noise as integers, with randomness of the operating system; counts and "
            "noise are whole numbers, so attacks on the rounding of floating-point noise have nothing to read."
        )
    return (
        "The operating system's cryptographic generator, read anew for every draw, made sampling and noise (Box and "
        "Muller, double precision); nothing of it is kept. The noise is floating point while the accounting is of real "
        "numbers: attacks that read the rounding of such noise are known, and nothing here defends against them."
    )


def not_protected(protection: Protection) -> list[str]:
    """What a reader might take to be covered and is not."""
    claim = protection.claim
    if isinstance(claim.mechanism, GaussianRelease | GeometricRelease):
        points = [*_of_a_release(claim)]
    else:
        points = [*_of_a_training(claim)]
    return [*points, *_of_any(claim)]


def _of_a_release(claim: Claim) -> list[str]:
    if claim.unit == "trip":
        longer = "A person: somebody with many trips is covered for each of them alone, and less for all together."
    else:
        units, several = LONGER[claim.unit]
        told = "; ".join(_over(claim, count, units) for count in several)
        longer = f"A person over a longer time: costs add up. {told}."
    return [
        longer,
        "Observations that a caller sends to the service: they are raw, and such a forecast is marked, logged and not "
        "to be passed on.",
        "How many rows were read, rejected or cut off by the bound: such figures are of the raw rows and no part of "
        "the release.",
    ]


def _over(claim: Claim, count: int, units: str) -> str:
    """The claim for `count` units of one person, whose noise was drawn independently, in full."""
    spent = epsilon([claim.mechanism] * count, delta=claim.delta)
    return (
        f"One person's data of {count} {units}: epsilon = {rounded_up(spent)}, delta = {claim.delta:.3g} "
        f"({claim.relation}; {ACCOUNTANT}; {claim.sampling})"
    )


def _of_a_training(claim: Claim) -> list[str]:
    weak = (
        "A person, or one time slot: both are in many training windows, and the claim is of one window."
        if claim.unit == "window"
        else "A person: somebody is in many time slots, and the claim is of one."
    )
    return [
        "Forecasts: each reads the newest raw counts, which the claim of the weights does not cover. They are marked, "
        "logged and not exportable.",
        weak,
        "Scores, backtest and report: they were computed on raw counts. So were the quantiles of validation errors "
        "behind the intervals, which travel with the model. Which version is champion follows from these scores.",
    ]


def _of_any(claim: Claim) -> list[str]:
    trusted = [f"On trust from the owner of the data, checked by nothing here: {told}." for told in claim.assumptions]
    return [
        *trusted,
        "Nodes, steps and calendar: they are taken to be public. If a list of places tells who was there, that is not "
        "covered.",
        "What holds of the crowd: that a place is busy at eight can be learnt whoever takes part.",
        "Other releases of and trainings on the same data: each adds to what is spent. The ledger has the sum: "
        "`flockcast budget show`.",
    ]


def audit_in_words(tags: Mapping[str, str]) -> str:
    """From the tags of the version; an audit that is no version's says nothing of it."""
    verdict = tags.get("audit.verdict")
    if verdict is None:
        return "Not audited yet."
    found, delta = tags.get("audit.bound"), tags.get("audit.delta", "that of the claim")
    bound = f" Its lower bound, of the same unit as the claim and at delta = {delta}, is {found}." if found else ""
    return f"Verdict: {verdict}; {VERDICTS.get(verdict, 'see the audit')}.{bound}{_other_code(tags)}"


def _other_code(tags: Mapping[str, str]) -> str:
    audited, trained = tags.get("audit.git"), tags.get("flockcast.git")
    if audited is None or trained is None or audited == trained:
        return ""
    which = f"It ran code {audited[:12]}, and this version was made by {trained[:12]}"
    return f" {which}: of a mistake that was mended in between it says nothing."
