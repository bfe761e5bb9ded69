"""What would fit where a run doesn't: fewer steps, more noise, or fewer blocks."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

from pipelines.privacy.ledger import cost
from pipelines.privacy.ledger.blocks import fold
from pipelines.privacy.ledger.past import Past
from pipelines.privacy.ledger.records import Policy
from pipelines.privacy.mechanisms import GaussianRelease, Mechanism, PrivateTraining, RandomStopping

MOST_NOISE = 1e6  # times what was asked for; more would leave no signal
TRAINED = ("window", "slot")  # units of private training; the others are of releases
MOST_STEPS = 100_000
DIGITS = 1e-3  # of the noise that is offered, relative


def offers(mechanism: Mechanism, pasts: Mapping[str, Past], over: Mapping[str, Decimal], policy: Policy) -> dict:
    """JSON-ready; an offer that does not exist is left out."""
    spent = max(cost.spent(past, policy.order) for past in pasts.values())
    left = cost.cap(policy) - spent
    found: dict[str, object] = {}
    if steps := _steps(mechanism, left, policy.order):
        found["steps"] = str(steps)
    if noise := _noise(mechanism, left, policy.order):
        found["noise_multiplier" if isinstance(mechanism, PrivateTraining | RandomStopping) else "scale"] = noise
    if blocks := fold(block for block in pasts if block not in over):
        found["blocks"] = blocks
    return found


def admits(policy: Policy) -> list[str]:
    """What fits into one block that is untouched, in lines for a person: releases, or trainings, by the unit."""
    return _trainings(policy) if policy.unit in TRAINED else _releases(policy)


def _releases(policy: Policy) -> list[str]:
    lines = []
    for times in (1, 10):
        scale = _noise(GaussianRelease(sensitivity=1.0, scale=1.0), cost.cap(policy) / times, policy.order)
        what = "one release of counts" if times == 1 else f"{times} releases"
        lines.append(f"{what} with Gaussian noise of {scale} for each 1 that a unit can move them by (L2)")
    return lines


def _trainings(policy: Policy) -> list[str]:
    lines = []
    for noise in (4.0, 8.0):
        training = PrivateTraining(noise_multiplier=noise, sample_rate=0.05, steps=MOST_STEPS, max_grad_norm=1.0)
        steps = _steps(training, cost.cap(policy), policy.order)
        told = f"{'more than ' if steps == MOST_STEPS else ''}{steps:,}"
        lines.append(
            f"{told} steps of private training with noise multiplier {noise:g}, sample rate 0.05, a unit in one sample"
        )
    return lines


def _steps(mechanism: Mechanism, left: Decimal, order: float) -> int:
    """The largest number of steps that fits; 0 if none does, or if steps are not what it is made of."""
    if not isinstance(mechanism, PrivateTraining):
        return 0
    fits = 0
    low, high = 1, mechanism.steps
    while low <= high:
        middle = (low + high) // 2
        if cost.divergence(replace(mechanism, steps=middle), order) <= left:
            fits, low = middle, middle + 1
        else:
            high = middle - 1
    return fits


def _noise(mechanism: Mechanism, left: Decimal, order: float) -> str:
    """The smallest noise that fits, rounded up to four figures; empty if none does."""
    if left <= 0:
        return ""
    low, high = 1.0, 2.0
    while cost.divergence(_noisier(mechanism, high), order) > left:
        low, high = high, high * 2
        if high > MOST_NOISE:
            return ""
    while high / low > 1 + DIGITS / 4:
        middle = (low * high) ** 0.5
        if cost.divergence(_noisier(mechanism, middle), order) > left:
            low = middle
        else:
            high = middle
    return _rounded_up(
        _noise_of(mechanism) * high, lambda noise: cost.divergence(_with(mechanism, noise), order) <= left
    )


def _rounded_up(noise: float, fits: Callable[[float], bool]) -> str:
    short = f"{noise * (1 + DIGITS):.4g}"
    return short if fits(float(short)) else repr(noise)


def _noisier(mechanism: Mechanism, times: float) -> Mechanism:
    return _with(mechanism, _noise_of(mechanism) * times)


def _noise_of(mechanism: Mechanism) -> float:
    if isinstance(mechanism, RandomStopping):
        return mechanism.trial.noise_multiplier
    return mechanism.noise_multiplier if isinstance(mechanism, PrivateTraining) else mechanism.scale


def _with(mechanism: Mechanism, noise: float) -> Mechanism:
    if isinstance(mechanism, RandomStopping):
        return replace(mechanism, trial=replace(mechanism.trial, noise_multiplier=noise))
    if isinstance(mechanism, PrivateTraining):
        return replace(mechanism, noise_multiplier=noise)
    return replace(mechanism, scale=noise)
