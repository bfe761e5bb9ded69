"""What mechanisms cost together: epsilon at a delta, or delta at an epsilon; upper bounds.

Numerical: the distribution of the privacy loss, never too small (`loss_distribution`). Releases with Gaussian noise
alone have a closed form. A delta too small for floating point (about 1e-15 a step) is answered by Rényi accounting,
which is looser. Of a search with random stopping only a Rényi curve is known, so a list that holds one is accounted
by Rényi alone, all of it jointly. Central-limit (GDP) figures can be too small: never used.

The figures hold when all of the mechanisms were fixed beforehand; for budgets that are spent adaptively see `renyi`.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pipelines.privacy.gaussian import continuous_scale, gaussian_delta, gaussian_epsilon
from pipelines.privacy.geometric import geometric_losses
from pipelines.privacy.loss_distribution import (
    MOST_CELLS,
    LossDistribution,
    compose,
    of_gaussian,
    of_geometric,
    of_mixture,
)
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, Mechanism, PrivateTraining, RandomStopping
from pipelines.privacy.mixture import Mixture
from pipelines.privacy.renyi import ORDERS, convert, delta_of, renyi_of_all

ACCOUNTANT = "flockcast-pld 1"
FINENESS = 0.01  # of the grid, over the standard deviation of one step's loss: 1e-5 of variance is added


def epsilon(mechanisms: Sequence[Mechanism], *, delta: float) -> float:
    """Epsilon of all `mechanisms` on the same data together, an upper bound.

    Raises ValueError unless 0 < delta < 1.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must lie between 0 and 1")
    if any(isinstance(each, RandomStopping) for each in mechanisms):
        return convert(mechanisms, delta=delta).epsilon
    mu, parts = _sorted_out(mechanisms)
    if not parts:
        return gaussian_epsilon(mu=mu, delta=delta) if mu else 0.0
    value = min(max(direction.epsilon(delta) for direction in _together(mu, parts)), _pure(mu, parts))
    return value if math.isfinite(value) else convert(mechanisms, delta=delta).epsilon


def delta(mechanisms: Sequence[Mechanism], *, epsilon: float) -> float:
    """Delta of all `mechanisms` on the same data together, an upper bound.

    Raises ValueError if epsilon is negative.
    """
    if not epsilon >= 0:
        raise ValueError(f"epsilon is {epsilon}; it can't be negative")
    if any(isinstance(each, RandomStopping) for each in mechanisms):
        return min(delta_of(renyi_of_all(mechanisms, order), order=order, epsilon=epsilon) for order in ORDERS)
    mu, parts = _sorted_out(mechanisms)
    if not parts:
        return gaussian_delta(mu=mu, epsilon=epsilon)
    if epsilon >= _pure(mu, parts):
        return 0.0
    return max(direction.delta(epsilon) for direction in _together(mu, parts))


Part = Mixture | GeometricRelease
Parts = tuple[tuple[Part, int], ...]


def _sorted_out(mechanisms: Sequence[Mechanism]) -> tuple[float, Parts]:
    """All Gaussian noise without sampling as one mu; of everything else how often it is done."""
    square = 0.0
    counts: Counter[Part] = Counter()
    for each in mechanisms:
        if isinstance(each, GaussianRelease):
            square += (each.sensitivity / continuous_scale(each.scale)) ** 2
        elif isinstance(each, GeometricRelease):
            counts[each] += 1
        elif isinstance(each, PrivateTraining) and each.sample_rate == 1:
            square += each.steps * (each.group_size / each.noise_multiplier) ** 2
        elif isinstance(each, PrivateTraining) and each.steps:
            counts[Mixture(each.noise_multiplier, each.sample_rate, each.group_size)] += each.steps
    return math.sqrt(square), tuple(counts.items())


def _pure(mu: float, parts: Parts) -> float:
    """Epsilon at delta 0: finite for geometric noise alone, whose sum the grid would overstate by a hair."""
    if mu or any(isinstance(part, Mixture) for part, _ in parts):
        return math.inf
    return sum(times * part.sensitivity / part.scale for part, times in parts if isinstance(part, GeometricRelease))


@lru_cache(maxsize=64)
def _together(mu: float, parts: Parts) -> tuple[LossDistribution, LossDistribution]:
    """The loss of everything: a unit removed, a unit added."""
    interval = _interval(mu, parts)
    removed: list[tuple[LossDistribution, int]] = []
    added: list[tuple[LossDistribution, int]] = []
    for part, times in parts:
        one, other = _losses(part, interval)
        removed.append((one, times))
        added.append((other, times))
    if mu:
        release = of_gaussian(mu, interval=interval)
        removed.append((release, 1))
        added.append((release, 1))
    return compose(removed), compose(added)


def _losses(part: Part, interval: float) -> tuple[LossDistribution, LossDistribution]:
    if isinstance(part, Mixture):
        return of_mixture(part, interval=interval)
    both = of_geometric(*geometric_losses(part), interval=interval)
    return both, both


def _interval(mu: float, parts: Parts) -> float:
    """Of the grid: fine beside the average step's loss, coarse enough for the widest one."""
    steps = sum(times for _, times in parts) + (mu > 0)
    variance = mu * mu + sum(times * _variance(part) for part, times in parts)
    widest = max([20 * mu, *(_range(part) for part, _ in parts)])
    return max(FINENESS * math.sqrt(variance / steps), widest / MOST_CELLS)


def _variance(part: Part) -> float:
    if isinstance(part, Mixture):
        return min(part.variances)
    losses, chances = geometric_losses(part)
    return float(chances @ losses**2 - (chances @ losses) ** 2)


def _range(part: Part) -> float:
    return float(np.ptp(part.table[1] if isinstance(part, Mixture) else geometric_losses(part)[0]))
