"""Gaussian noise in closed form.

Balle and Wang, Improving the Gaussian Mechanism for Differential Privacy, arXiv:1805.06530, theorem 8: with
mu = sensitivity / standard deviation, delta = Phi(mu / 2 - epsilon / mu) - e^epsilon Phi(-mu / 2 - epsilon / mu).
Releases compose exactly: the squares of their mu add up.

Integer noise, Pr[z] ~ e^(-z^2 / 2 s^2), takes losses on a lattice, and between two of them its delta lies above that of
continuous noise of the same s: by 11 % at s 4.2 and delta 1e-12, by a factor of 5 at s 0.5. Its upper envelope is that
of continuous noise of variance s^2 - 1/12, to within 1e-3 (0.009 at s 0.5); we take 0.09 for 1/12, and nowhere is what
we say too small. Coordinates are independent, so this holds for any vector of counts.
"""

import math

from scipy import optimize, special

LATTICE = 0.09  # of variance
LEAST_SCALE = 0.36  # below, the same share of the variance is taken off


def continuous_scale(scale: float) -> float:
    """The scale of continuous noise that hides no better than integer noise of `scale`."""
    return scale * math.sqrt(1 - LATTICE / max(scale, LEAST_SCALE) ** 2)


def integer_scale(scale: float) -> float:
    """Its inverse: the scale of integer noise that hides as well as continuous noise of `scale`."""
    if scale < continuous_scale(LEAST_SCALE):
        return scale / math.sqrt(1 - LATTICE / LEAST_SCALE**2)
    return math.sqrt(scale**2 + LATTICE)


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
    low, high = delta, 2 * math.sqrt(epsilon) + 20
    root = optimize.brentq(
        lambda log: gaussian_delta(mu=math.exp(log), epsilon=epsilon) - delta, math.log(low), math.log(high), xtol=1e-13
    )
    return math.exp(root) * (1 - 1e-8)
