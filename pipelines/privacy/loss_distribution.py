"""What an observer may learn from one answer, as a distribution: the privacy loss on a grid, never too small.

The loss of an outcome is ln(P / Q), how much more likely it is with the unit's data than without; its distribution
under P gives delta at every epsilon. Losses of independent mechanisms add, so composition is a convolution. A cell's
mass goes to its two ends such that its P and its Q are both kept ("connect the dots": Doroshenko, Ghazi, Kamath, Kumar,
Manurangsi, arXiv:2207.04380), what lies beyond the grid counts as infinite loss.

Every mechanism has two directions, a unit removed and a unit added; they are composed apart and the worse one counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal, special

from pipelines.privacy.mixture import Mixture

Floats = NDArray[np.float64]

TAIL = 1e-15  # chance that a composition leaves its grid; added to delta
MOST_CELLS = 2**19  # of one mechanism
ROUNDING = 10 * 2.0**-53  # of one step's FFT and power; measured errors are below a tenth of it


@dataclass(frozen=True)
class LossDistribution:
    """Loss (lowest + i) * interval has probability `mass[i]` under P; `infinite` is what no epsilon covers."""

    interval: float
    lowest: int
    mass: Floats  # [K]
    infinite: float

    @property
    def losses(self) -> Floats:
        return self.interval * (self.lowest + np.arange(len(self.mass), dtype=float))

    def delta(self, epsilon: float) -> float:
        """The smallest delta at this epsilon, at most 1."""
        losses = self.losses
        above = losses > epsilon
        covered = -np.expm1(epsilon - losses[above])
        return min(1.0, self.infinite + float(self.mass[above] @ covered))

    def epsilon(self, delta: float) -> float:
        """The smallest epsilon >= 0 at this delta; infinite if delta is below the mass of infinite loss."""
        if delta <= self.infinite:
            return math.inf
        if self.delta(0.0) <= delta:
            return 0.0
        above = self.mass[::-1].cumsum()[::-1]  # [K], P of loss i and more
        weight = math.exp(-self.interval)
        below_e = signal.lfilter([1.0], [1.0, -weight], self.mass[::-1])[::-1]  # [K], sum p_j e^(l_i - l_j), j >= i
        deltas = self.infinite + above - below_e  # [K], at each loss
        i = int(np.flatnonzero(deltas > delta)[-1])  # the last loss that is too small an epsilon
        left, shrunk = above[i + 1], weight * below_e[i + 1]
        return max(0.0, float(self.losses[i] + math.log((left + self.infinite - delta) / shrunk)))


def from_cells(
    log_p: Floats, log_q: Floats, *, lowest: int, interval: float, low: float, infinite: float
) -> LossDistribution:
    """Of cells [loss i, loss i + 1], K of them, with log probabilities under P and Q; `low` is P's mass below them."""
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = np.exp(log_q - log_p + (lowest + np.arange(len(log_p))) * interval)  # 1 at the lower end
    up = np.clip(np.nan_to_num((1 - ratio) / -math.expm1(-interval), nan=1.0), 0.0, 1.0)  # share of the upper end
    p = np.exp(log_p)
    mass = np.zeros(len(p) + 1)
    mass[:-1] += p * (1 - up)
    mass[1:] += p * up
    mass[0] += low
    return LossDistribution(interval, lowest, mass, infinite)


def of_mixture(mixture: Mixture, *, interval: float) -> tuple[LossDistribution, LossDistribution]:
    """One step of subsampled Gaussian noise: a unit removed, a unit added."""
    lowest, x = mixture.cut(interval)  # [K + 1], outcomes whose losses are the grid's
    base, mixed = mixture.log_cells(x)  # [K] each
    base_below, base_above, mixed_below, mixed_above = mixture.outside(x[0], x[-1])
    removed = from_cells(mixed, base, lowest=lowest, interval=interval, low=mixed_below, infinite=mixed_above)
    added = from_cells(
        base[::-1],
        mixed[::-1],
        lowest=-(lowest + len(base)),
        interval=interval,
        low=base_above,
        infinite=base_below,
    )
    return removed, added


def of_gaussian(mu: float, *, interval: float) -> LossDistribution:
    """Gaussian noise of standard deviation sensitivity / mu; both directions are alike."""
    return of_mixture(Mixture(noise=1 / mu, rate=1.0, size=1), interval=interval)[0]


def of_geometric(losses: Floats, chances: Floats, *, interval: float) -> LossDistribution:
    """Of finitely many losses [A] with chances [A]; both directions are alike."""
    cells = np.floor(losses / interval).astype(int)
    lowest, count = int(cells.min()), int(np.ptp(cells)) + 2
    up = np.expm1(cells * interval - losses) / math.expm1(-interval)  # [A], keeps P and Q
    up = np.clip(up, 0.0, 1.0)
    mass = np.zeros(count)
    mass += np.bincount(cells - lowest, chances * (1 - up), count)
    mass += np.bincount(cells - lowest + 1, chances * up, count)
    return LossDistribution(interval, lowest, mass, 0.0)


def compose(parts: Sequence[tuple[LossDistribution, int]]) -> LossDistribution:
    """The loss of part i taken `times` i, all together. All parts have the same interval."""
    if len(parts) == 1 and parts[0][1] == 1:
        return parts[0][0]
    interval = parts[0][0].interval
    low, high = _window(parts)
    count = fft.next_fast_len(high - low + 1, real=True)
    spectrum = np.ones(count // 2 + 1, complex)
    for part, times in parts:
        wrapped = np.bincount((part.lowest + np.arange(len(part.mass))) % count, part.mass, count)
        spectrum *= fft.rfft(wrapped) ** times
    mass = np.roll(fft.irfft(spectrum, count), -low)
    steps = sum(times for _, times in parts)
    never = -math.expm1(sum(times * math.log1p(-part.infinite) for part, times in parts))
    return LossDistribution(interval, low, mass.clip(0), never + TAIL + ROUNDING * (steps + math.log2(count)))


def _window(parts: Sequence[tuple[LossDistribution, int]]) -> tuple[int, int]:
    """Losses between which the sum stays but for `TAIL` on either side (Chernoff), in intervals."""
    interval = parts[0][0].interval
    spread = math.sqrt(sum(times * max(_variance(part), interval**2) for part, times in parts))
    rates = np.geomspace(0.03, 300, 33) / spread  # some rate near 8 / spread is best for a bell
    blocks = [(*_blocks(part), times) for part, times in parts]
    budget = -math.log(TAIL)
    highs = [(_log_moment(blocks, rate) + budget) / rate for rate in rates]
    lows = [-(_log_moment(blocks, -rate) + budget) / rate for rate in rates]
    most = sum(times * (part.lowest + len(part.mass) - 1) for part, times in parts)
    least = sum(times * part.lowest for part, times in parts)
    return max(least, math.floor(max(lows) / interval)), min(most, math.ceil(min(highs) / interval))


def _variance(part: LossDistribution) -> float:
    mean = float(part.mass @ part.losses)
    return float(part.mass @ (part.losses - mean) ** 2)


def _blocks(part: LossDistribution) -> tuple[Floats, Floats, float]:
    """Mean losses [D] and ln masses [D] of blocks a fifth of a standard deviation wide or less, and their width."""
    size = max(1, int(math.sqrt(_variance(part)) / (5 * part.interval)))
    starts = np.arange(0, len(part.mass), size)
    mass = np.add.reduceat(part.mass, starts)
    total = np.add.reduceat(part.mass * part.losses, starts)
    some = mass > 0
    return total[some] / mass[some], np.log(mass[some]), (size - 1) * part.interval


def _log_moment(blocks: Sequence[tuple[Floats, Floats, float, int]], rate: float) -> float:
    """Upper bound of ln E[e^(rate * loss)] of the sum; within a block by Hoeffding's lemma."""
    return sum(
        times * (float(special.logsumexp(rate * loss + log)) + (rate * width) ** 2 / 8)
        for loss, log, width, times in blocks
    )
