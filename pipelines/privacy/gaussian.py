"""Gaussian noise in closed form.

Balle and Wang, Improving the Gaussian Mechanism for Differential Privacy, arXiv:1805.06530, theorem 8: with
mu = sensitivity / standard deviation, delta = Phi(mu / 2 - epsilon / mu) - e^epsilon Phi(-mu / 2 - epsilon / mu).
Releases compose exactly: the squares of their mu add up.
"""

import math

from scipy import optimize, special


def gaussian_delta(*, mu: float, epsilon: float) -> float:
    """The smallest delta."""
    if mu == 0:
        return 0.0
    first = float(special.log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(special.log_ndtr(-mu / 2 - epsilon / mu))
    return max(0.0, math.exp(first) * -math.expm1(min(0.0, second - first)))


def gaussian_epsilon(*, mu: float, delta: float) -> float:
    """The smallest epsilon >= 0, rounded up by a hair."""
    if gaussian_delta(mu=mu, epsilon=0.0) <= delta:
        return 0.0
    enough = mu * mu / 2 + mu * math.sqrt(2 * math.log(1 / delta)) + 1e-3
    root = optimize.brentq(lambda epsilon: gaussian_delta(mu=mu, epsilon=epsilon) - delta, 0.0, enough, rtol=1e-12)
    return float(root) * (1 + 1e-9)


def gaussian_mu(*, epsilon: float, delta: float) -> float:
    """The largest mu that keeps (epsilon, delta), rounded down by a hair."""
    low, high = 1e-9, 2 * math.sqrt(epsilon) + 20
    root = optimize.brentq(
        lambda log: gaussian_delta(mu=math.exp(log), epsilon=epsilon) - delta, math.log(low), math.log(high), xtol=1e-13
    )
    return math.exp(root) * (1 - 1e-9)
