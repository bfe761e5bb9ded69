"""How much noise a promise takes."""

import math
from collections.abc import Callable

from scipy import optimize

from pipelines.privacy.accounting import epsilon as epsilon_of_all
from pipelines.privacy.gaussian import gaussian_mu, integer_scale
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, PrivateTraining

MOST_NOISE = math.log(1e6)

Release = GaussianRelease | GeometricRelease


def gaussian_scale(*, sensitivity: float, epsilon: float, delta: float) -> float:
    """The smallest scale of integer Gaussian noise on counts of L2 `sensitivity`.

    Exact but for the lattice (`pipelines.privacy.gaussian`): 4.236 where continuous noise would need 4.225.
    """
    _require_target(epsilon, delta)
    return integer_scale(sensitivity / gaussian_mu(epsilon=epsilon, delta=delta))


def geometric_scale(*, sensitivity: float, epsilon: float) -> float:
    """The smallest scale of geometric noise on counts of L1 `sensitivity`."""
    _require_target(epsilon)
    return sensitivity / epsilon


def variance(release: Release) -> float:
    """Of the noise on one cell."""
    if isinstance(release, GaussianRelease):
        return release.scale**2
    a = math.exp(-1 / release.scale)
    return 2 * a / (1 - a) ** 2


def release_of_least_variance(*, l1: float, l2: float, epsilon: float, delta: float) -> Release:
    """Geometric noise by the L1 sensitivity or Gaussian noise by the L2 sensitivity, whichever disturbs less."""
    geometric = GeometricRelease(sensitivity=l1, scale=geometric_scale(sensitivity=l1, epsilon=epsilon))
    gaussian = GaussianRelease(sensitivity=l2, scale=gaussian_scale(sensitivity=l2, epsilon=epsilon, delta=delta))
    return geometric if variance(geometric) <= variance(gaussian) else gaussian


def noise_multiplier(
    *, epsilon: float, delta: float, sample_rate: float, steps: int, group_size: int = 1, tolerance: float = 1e-4
) -> float:
    """The smallest noise multiplier that keeps (epsilon, delta), to a relative `tolerance` above.

    Raises ValueError for a target that no noise can meet, or no steps.
    """
    _require_target(epsilon, delta)
    if steps < 1:
        raise ValueError(f"{steps} steps need no noise")

    def excess(log: float) -> float:
        training = PrivateTraining(math.exp(log), sample_rate, steps, max_grad_norm=1.0, group_size=group_size)
        return math.log(max(epsilon_of_all([training], delta=delta), 1e-12) / epsilon)

    low, high = _bracket(excess)
    root = optimize.brentq(excess, low, high, xtol=tolerance / 4)
    while excess(root) > 0:
        root += tolerance / 4
    return math.exp(root)


def _bracket(excess: Callable[[float], float]) -> tuple[float, float]:
    """ln noise that is too little and ln noise that is enough, at most a factor of 2 apart."""
    high = 0.0
    while excess(high) > 0:
        high += math.log(2)
        if high > MOST_NOISE:
            raise ValueError(
                f"not even a noise multiplier of {math.exp(MOST_NOISE):.0f} keeps this promise; take fewer steps"
            )
    while excess(high - math.log(2)) <= 0:
        high -= math.log(2)
    return high - math.log(2), high


def _require_target(epsilon: float, delta: float = 1e-6) -> None:
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon is {epsilon}; a promise has a positive one")
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must lie between 0 and 1")
