"""Prediction intervals for any model: conformal calibration on validation residuals.

Split conformal (Vovk et al. 2005; Lei et al. 2018): the forecast's error at each lead time and of each series is as
large as it was on the validation range, with the finite-sample correction (n + 1). The two tails are calibrated apart,
since errors of counts are skewed. Where one series has too few residuals at a lead time for its tails, all series are
calibrated together (in units of their mean error), and where these are too few as well, all lead times too.

Adaptive (Gibbs and Candes, Adaptive Conformal Inference Under Distribution Shift, NeurIPS 2021, equation 2): the level
that is asked of the calibration moves with the misses seen so far, so that coverage holds when the world drifts.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from pipelines.results import Intervals

LEVELS = np.array(
    [0.005, 0.01, 0.02, 0.03, 0.04, 0.05, *np.arange(0.075, 0.926, 0.025), 0.95, 0.96, 0.97, 0.98, 0.99, 0.995]
)
ENOUGH = 30  # residuals that are calibrated on their own
STEP = 0.005  # how fast the adaptive level moves after a miss


@dataclass(frozen=True)
class Calibration:
    """Quantiles of validation residuals (truth minus forecast) at `LEVELS`, and the level asked for now."""

    quantiles: np.ndarray  # [Q, H, N, F]
    asked: np.ndarray  # [H], the miss rate that yields `miss` in fact: `miss` itself for split conformal
    miss: float  # 1 - level

    def bounds(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """What to add to a forecast for the ends of the interval that holds `level` of the truths, [H, N, F] each."""
        return self.residual((1 - level) / 2), self.residual((1 + level) / 2)

    def residual(self, quantile: float) -> np.ndarray:
        """The residual at this quantile, [H, N, F], with the adaptation of each lead time.

        The ends of the interval move to what is asked, the median stays, what lies between moves in proportion.
        """
        share = min(quantile, 1 - quantile)
        tail = [float(np.interp(share, (0, self.miss / 2, 0.5), (0, asked / 2, 0.5))) for asked in self.asked]  # [H]
        levels = tail if quantile < 0.5 else [1 - each for each in tail]
        return np.stack([interpolate(self.quantiles[:, h], level) for h, level in enumerate(levels)])


def interpolate(quantiles: np.ndarray, level: float) -> np.ndarray:
    """Between the entries of `LEVELS`; the outermost beyond them. `quantiles` [Q, ...] -> [...]."""
    level = float(np.clip(level, LEVELS[0], LEVELS[-1]))
    upper = int(np.searchsorted(LEVELS, level).clip(1, len(LEVELS) - 1))
    share = (level - LEVELS[upper - 1]) / (LEVELS[upper] - LEVELS[upper - 1])
    return (1 - share) * quantiles[upper - 1] + share * quantiles[upper]


def calibrate(residuals: np.ndarray, mask: np.ndarray, *, level: float) -> Calibration:
    """From validation residuals `[C, H, N, F]`; `mask` says which were observed."""
    scale = _spread(residuals, mask)  # [N, F]
    pooled = np.where(mask, residuals, np.nan) / scale
    horizon, nodes, variables = residuals.shape[1:]
    least = max(ENOUGH, math.ceil(2 / (1 - level)))  # with fewer, the tails asked for lie beyond the extremes
    everything = _ranks(pooled.reshape(-1, 1))[:, None]  # [Q, 1, 1]
    by_lead = np.stack([_ranks(pooled[:, h].reshape(-1, 1)) for h in range(horizon)], axis=1)  # [Q, H, 1]
    together = np.where(mask.sum(axis=(0, 2, 3))[:, None] >= least, by_lead, everything)  # [Q, H, 1]
    apart = _ranks(np.where(mask, residuals, np.nan).reshape(len(residuals), -1)).reshape(-1, horizon, nodes, variables)
    quantiles = np.where(mask.sum(axis=0) >= least, apart, together[..., None] * scale)
    return Calibration(quantiles, asked=np.full(horizon, 1 - level), miss=1 - level)


def _ranks(columns: np.ndarray) -> np.ndarray:
    """The conformal quantiles of each column [n, K], NaN left out: [Q, K]. A column of NaN gives 0."""
    ordered = np.sort(columns, axis=0)  # NaN last
    count = (~np.isnan(columns)).sum(axis=0)  # [K]
    low = np.floor(LEVELS[:, None] * (count + 1))
    high = np.ceil(LEVELS[:, None] * (count + 1))
    rank = np.where(LEVELS[:, None] < 0.5, low, high).clip(1, np.maximum(count, 1)).astype(int) - 1
    return np.nan_to_num(np.take_along_axis(ordered, rank, axis=0))


def _spread(residuals: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean size of each series' residuals, [N, F]; 1 where there is none."""
    size = np.where(mask, np.abs(residuals), 0.0).sum(axis=(0, 1)) / np.maximum(mask.sum(axis=(0, 1)), 1)
    return np.where(size > 0, size, 1.0)


Bounds = tuple[np.ndarray, np.ndarray]  # lower and upper, [C, H, N, F] each


def split_bounds(forecast: np.ndarray, calibration: Calibration, *, level: float, is_count: bool) -> Bounds:
    lower, upper = replace(calibration, asked=np.full_like(calibration.asked, calibration.miss)).bounds(level)
    return _within_reality(forecast + lower, forecast + upper, is_count)


def adaptive_bounds(
    forecast: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray,
    calibration: Calibration,
    *,
    level: float,
    is_count: bool,
    stride: int,
) -> tuple[Bounds, Calibration]:
    """Walks through the cutoffs `[C, H, N, F]`, `stride` steps apart, and learns from what each of them could know.

    A forecast for lead time h is known to have hit or missed only h steps later. Gives the bounds and the calibration
    as it stands after the last cutoff.
    """
    asked = calibration.asked.copy()
    lower, upper = np.empty_like(forecast), np.empty_like(forecast)
    for c in range(len(forecast)):
        low, high = replace(calibration, asked=asked.clip(0, 1)).bounds(level)
        lower[c], upper[c] = _within_reality(forecast[c] + low, forecast[c] + high, is_count)
        for h in range(forecast.shape[1]):
            known = c - -(-(h + 1) // stride)  # the newest cutoff whose target, h + 1 steps on, has been seen
            if known >= 0 and mask[known, h].any():
                missed = (truth[known, h] < lower[known, h]) | (truth[known, h] > upper[known, h])
                asked[h] += STEP * (calibration.miss - missed[mask[known, h]].mean())
    return (lower, upper), replace(calibration, asked=asked.clip(0, 1))


def _within_reality(lower: np.ndarray, upper: np.ndarray, is_count: bool) -> Bounds:
    return (np.maximum(lower, 0), np.maximum(upper, 0)) if is_count else (lower, upper)


def measure_intervals(method: str, level: float, bounds: Bounds, truth: np.ndarray, mask: np.ndarray) -> Intervals:
    """How often the bounds held the observed truths, in total and per lead time, and how wide they were."""
    lower, upper = bounds
    inside = (truth >= lower) & (truth <= upper) & mask
    with np.errstate(invalid="ignore"):
        by_horizon = inside.sum(axis=(0, 2, 3)) / mask.sum(axis=(0, 2, 3))
    return Intervals(
        method=method,
        level=level,
        lower=lower,
        upper=upper,
        coverage=float(inside.sum() / mask.sum()) if mask.any() else float("nan"),
        coverage_by_horizon=by_horizon,
        mean_width=float((upper - lower)[mask].mean()) if mask.any() else float("nan"),
    )
