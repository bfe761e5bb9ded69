"""Rényi differential privacy of a mechanism at an order: what a budget is enforced with.

Divergences of one order add up, also when later mechanisms are chosen by what earlier ones gave (Feldman and Zrnic,
arXiv:2008.11193), which numerical accounting does not allow for. Conversion to (epsilon, delta): Canonne, Kamath,
Steinke, arXiv:2004.00010, proposition 12.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from pipelines.privacy.geometric import geometric_losses
from pipelines.privacy.mechanisms import GaussianRelease, GeometricRelease, Mechanism, PrivateTraining, RandomStopping
from pipelines.privacy.mixture import Mixture

ORDERS: tuple[float, ...] = (
    *(round(1.1 + 0.1 * i, 1) for i in range(99)),  # 1.1 .. 10.9
    *(float(order) for order in range(11, 65)),
    *(80.0, 96.0, 128.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0),
)
POINTS = 12  # of quadrature per standard deviation; what is integrated is analytic, so the error is far below 1e-12


def renyi(mechanism: Mechanism, order: float) -> float:
    """Rényi divergence of `order` > 1 between the mechanism's outputs with and without a unit, the worse direction.

    Raises ValueError if `order` is 1 or less.
    """
    if not 1 < order < math.inf:
        raise ValueError(f"Rényi order is {order}; it must be above 1")
    if isinstance(mechanism, GaussianRelease):
        return order * (mechanism.sensitivity / mechanism.scale) ** 2 / 2
    if isinstance(mechanism, GeometricRelease):
        losses, chances = geometric_losses(mechanism)
        return float(special.logsumexp((order - 1) * losses, b=chances)) / (order - 1)
    if isinstance(mechanism, PrivateTraining):
        return mechanism.steps * _of_step(_mixture(mechanism), order)
    return _of_search(mechanism, order)


def renyi_of_all(mechanisms: Sequence[Mechanism], order: float) -> float:
    """Of all mechanisms together: their sum."""
    return sum(times * renyi(each, order) for each, times in Counter(mechanisms).items())


def _mixture(training: PrivateTraining) -> Mixture:
    return Mixture(training.noise_multiplier, training.sample_rate, training.group_size)


@lru_cache(maxsize=8192)
def _of_step(mixture: Mixture, order: float) -> float:
    if mixture.rate == 1:
        return order * (mixture.size / mixture.noise) ** 2 / 2
    if mixture.size == 1 and order == int(order):
        return _closed_sum(mixture, int(order)) / (order - 1)
    return max(_log_moment(mixture, order), _log_moment(mixture, 1 - order)) / (order - 1)


def _closed_sum(mixture: Mixture, order: int) -> float:
    """ln sum C(a, k) (1 - q)^(a - k) q^k e^(k (k - 1) / 2 sigma^2): a unit removed, which is never the better one."""
    k = np.arange(order + 1)
    choose = special.gammaln(order + 1) - special.gammaln(k + 1) - special.gammaln(order - k + 1)
    chance = (order - k) * math.log1p(-mixture.rate) + k * math.log(mixture.rate)
    return max(0.0, float(special.logsumexp(choose + chance + k * (k - 1) / (2 * mixture.noise**2))))


def _log_moment(mixture: Mixture, power: float) -> float:
    """ln E[e^(power * loss)] over outcomes without the unit, by the trapezoid rule over all places it can peak at."""
    shift = power * mixture.size  # where the farthest peak is
    low, high = min(shift, 0) - 12 * mixture.noise, max(shift, 0) + 12 * mixture.noise
    x = np.linspace(low, high, math.ceil((high - low) / mixture.noise * POINTS) + 1)
    log = power * mixture.loss(x) - (x / mixture.noise) ** 2 / 2
    step = (x[1] - x[0]) / (mixture.noise * math.sqrt(2 * math.pi))
    return max(0.0, float(special.logsumexp(log)) + math.log(step))


def _of_search(search: RandomStopping, order: float) -> float:
    """Papernot and Steinke, arXiv:2110.03620, theorem 2, at the best of `ORDERS` for its second order."""
    more = 1 + search.eta

    def second(other: float) -> float:
        return more * ((1 - 1 / other) * renyi(search.trial, other) - math.log(search.gamma) / other)

    runs = math.log(expected_trials(search)) / (order - 1)
    return renyi(search.trial, order) + min(second(other) for other in ORDERS) + runs


def expected_trials(search: RandomStopping) -> float:
    """Mean of the truncated negative binomial distribution."""
    eta, gamma = search.eta, search.gamma
    if eta == 0:
        return (1 / gamma - 1) / -math.log(gamma)
    return eta * (1 - gamma) / (gamma * (1 - gamma**eta))


def epsilon_of(total: float, *, order: float, delta: float) -> float:
    """Epsilon at `delta` of a total divergence of `order`, at least 0."""
    return max(0.0, total + _correction(order, delta))


def delta_of(total: float, *, order: float, epsilon: float) -> float:
    """Delta at `epsilon` of a total divergence of `order`, at most 1."""
    log = (order - 1) * (total - epsilon + math.log1p(-1 / order)) - math.log(order)
    return math.exp(min(0.0, log))


def _correction(order: float, delta: float) -> float:
    if not 0 < delta < 1:
        raise ValueError(f"delta is {delta}; it must lie between 0 and 1")
    return math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)


def filter_cap(*, epsilon: float, delta: float, order: float) -> float:
    """Total divergence of `order` that may be spent under (epsilon, delta).

    Raises ValueError if none may: the order is too small for them.
    """
    cap = epsilon - _correction(order, delta)
    if cap <= 0:
        raise ValueError(
            f"at Rényi order {order:g} nothing can be spent under epsilon {epsilon:g}, delta {delta:g}; "
            f"order {best_order(epsilon=epsilon, delta=delta):g} would do"
        )
    return cap


def best_order(*, epsilon: float, delta: float) -> float:
    """The order of `ORDERS` that lets most be spent of what grows with the order as Gaussian noise does.

    Raises ValueError if no order lets anything be spent.
    """
    best = max(ORDERS, key=lambda order: (epsilon - _correction(order, delta)) / order)
    if epsilon <= _correction(best, delta):
        raise ValueError(f"no Rényi order up to {ORDERS[-1]:g} can enforce epsilon {epsilon:g} at delta {delta:g}")
    return best


@dataclass(frozen=True)
class Converted:
    """An upper bound on epsilon, and the order that gave it."""

    epsilon: float
    order: float
    at_end: bool  # best order is the last of the grid: a longer grid would give less, so say "at most"


Convert = Callable[..., float]


def convert(
    mechanisms: Sequence[Mechanism],
    *,
    delta: float,
    orders: Sequence[float] = ORDERS,
    by: Convert = epsilon_of,
) -> Converted:
    """Epsilon of all mechanisms together, at the best of `orders`; `by` is called like `epsilon_of`."""
    found = {order: by(renyi_of_all(mechanisms, order), order=order, delta=delta) for order in orders}
    best = min(found, key=lambda order: found[order])
    return Converted(found[best], best, best == max(orders))
