"""One step of DP-SGD seen by one privacy unit: Gaussian noise around 0, or around how many of its samples were drawn.

A unit in `size` samples, each drawn with chance `rate`, moves the clipped sum by at most the number drawn, which is
Binomial(size, rate); the worst case is one-dimensional (Ganesh, Tight Group-Level DP Guarantees for DP-SGD with
Sampling via Mixture of Gaussians Mechanisms, arXiv:2401.10294). With size 1 it is the Poisson-subsampled Gaussian.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

REACH = 10.0  # standard deviations of noise; beyond them lie 1e-23
RARE = 1e-23  # chance of a number drawn that is not looked at


@dataclass(frozen=True)
class Mixture:
    """Without the unit N(0, noise^2); with it the mixture of N(k, noise^2), k ~ Binomial(size, rate)."""

    noise: float
    rate: float
    size: int

    @cached_property
    def log_weights(self) -> list[tuple[int, float]]:
        """(k, ln Pr[k drawn]) of every k that can be."""
        logs = stats.binom.logpmf(np.arange(self.size + 1), self.size, self.rate)
        return [(k, float(log)) for k, log in enumerate(logs) if log > -math.inf]

    def loss(self, x: Floats) -> Floats:
        """ln(with / without) at outcomes [X]: increasing and convex."""
        total = np.full(x.shape, -math.inf)
        for k, log in self.log_weights:
            np.logaddexp(total, log + (k * x - k * k / 2) / self.noise**2, out=total)
        return total

    def slope(self, x: Floats, loss: Floats) -> Floats:
        """Derivative of the loss at outcomes [X]."""
        total = np.zeros(x.shape)
        for k, log in self.log_weights:
            total += k * np.exp(log + (k * x - k * k / 2) / self.noise**2 - loss)
        return total / self.noise**2

    @property
    def span(self) -> tuple[float, float]:
        """Outcomes between which both distributions lie, but for a chance of about 1e-23."""
        most = float(stats.binom.isf(RARE, self.size, self.rate))
        return -REACH * self.noise, most + REACH * self.noise

    @cached_property
    def table(self) -> tuple[Floats, Floats]:
        """Outcomes [X] over the span and somewhat more, and their losses."""
        low, high = self.span
        x = np.linspace(low - 4 * self.noise, high + 4 * self.noise, 8193)
        return x, self.loss(x)

    @cached_property
    def variances(self) -> tuple[float, float]:
        """Of the loss without the unit, and with it."""
        x, loss = self.table
        log = -((x / self.noise) ** 2) / 2
        return _variance(loss, special.softmax(log)), _variance(loss, special.softmax(log + loss))

    def cut(self, interval: float) -> tuple[int, Floats]:
        """The grid's lowest loss in intervals, and the outcomes [K + 1] at which the loss is on the grid."""
        table, losses = self.table
        ends = self.loss(np.array(self.span)) / interval
        lowest = math.floor(ends[0])
        wanted = interval * (lowest + np.arange(math.ceil(ends[1]) - lowest + 1, dtype=float))
        x = np.where(wanted < losses[0], -math.inf, math.inf)
        inside = (wanted >= losses[0]) & (wanted <= losses[-1])
        x[inside] = self._inverse(wanted[inside], table, losses)
        return lowest, x

    def _inverse(self, wanted: Floats, table: Floats, losses: Floats) -> Floats:
        """Newton's method, which on a convex increasing function overshoots once and then closes in from above."""
        x = np.interp(wanted, losses, table)
        step = table[1] - table[0]
        for _ in range(12):
            loss = self.loss(x)
            move = np.clip((loss - wanted) / self.slope(x, loss), -2 * step, 2 * step)
            x = x - move
            if np.abs(move).max() < 1e-12 * self.noise:
                break
        return x

    def log_cells(self, x: Floats) -> tuple[Floats, Floats]:
        """ln of the chances of the cells between outcomes [K + 1], without the unit and with it: [K] each."""
        with_unit = np.full(len(x) - 1, -math.inf)
        for k, log in self.log_weights:
            np.logaddexp(with_unit, log + _log_between((x - k) / self.noise), out=with_unit)
        return _log_between(x / self.noise), with_unit

    def outside(self, low: float, high: float) -> tuple[float, float, float, float]:
        """Chances of outcomes below and above: without the unit, then with it."""
        weights = [(k, math.exp(log)) for k, log in self.log_weights]
        below = sum(weight * float(special.ndtr((low - k) / self.noise)) for k, weight in weights)
        above = sum(weight * float(special.ndtr((k - high) / self.noise)) for k, weight in weights)
        return float(special.ndtr(low / self.noise)), float(special.ndtr(-high / self.noise)), below, above


def _variance(values: Floats, weights: Floats) -> float:
    return float(weights @ (values - weights @ values) ** 2)


def _log_between(z: Floats) -> Floats:
    """ln(Phi(z[i + 1]) - Phi(z[i])), exact in both tails."""
    low, high = z[:-1], z[1:]
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    top, bottom = special.log_ndtr(high), special.log_ndtr(low)
    with np.errstate(divide="ignore"):
        return top + np.log(-np.expm1(bottom - top))
