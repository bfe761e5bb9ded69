"""How wrong a forecast was: on the original scale, observed values only.

MAE     mean |error|
RMSE    root of the mean squared error over all values
node_rmse  the mean over series of each series' RMSE (the figure of the private-mobility paper)
MAPE    mean |error| / |truth|, where the truth is at least 1 % of the series' mean size (elsewhere it means nothing)
sMAPE   mean 2 |error| / (|truth| + |forecast|), 0 where both are 0
MASE    mean |error| / the training MAE of the series' seasonal naive (Hyndman and Koehler 2006)
MSLE    mean squared error of log(1 + value), of counts alone: by which share it was wrong, whatever the size
CPC     common part of commuters, of flows alone: 2 sum min(truth, forecast) / (sum truth + sum forecast), 1 is best
"""

import numpy as np
import polars as pl

METRICS = ("mae", "rmse", "node_rmse", "mape", "smape", "mase", "msle", "cpc")
LARGER_IS_BETTER = frozenset({"cpc"})


def naive_error(values: np.ndarray, mask: np.ndarray, season: int) -> np.ndarray:
    """The MAE of each series' seasonal naive in `values`, `mask` [T, N, F]: the unit of MASE, [N, F].

    NaN where no pair of values a season apart was observed, or where they never differ.
    """
    both = mask[season:] & mask[:-season]
    error = np.where(both, np.abs(values[season:] - values[:-season]), 0.0).sum(axis=0)
    count = both.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = error / count
    return np.where(unit > 0, unit, np.nan)


def score(
    forecasts: dict[str, np.ndarray],
    truth: np.ndarray,
    mask: np.ndarray,
    *,
    variables: tuple[str, ...],
    unit: np.ndarray,
    is_count: bool,
    are_flows: bool = False,
) -> pl.DataFrame:
    """Scores of each forecast [C, H, N, F]: in total (horizon 0) and per lead time, of all variables and of each.

    MSLE is NaN where the values are no counts, and CPC where they are no flows.
    """
    floor = 0.01 * _mean_size(truth, mask)  # [N, F]
    rows = []
    for model, forecast in forecasts.items():
        for variable, columns in _choices(variables):
            for horizon in range(truth.shape[1] + 1):
                leads = slice(None) if horizon == 0 else slice(horizon - 1, horizon)
                cells = (slice(None), leads, slice(None), columns)
                figures = measure(forecast[cells], truth[cells], mask[cells], unit[:, columns], floor[:, columns])
                rows.append({"model": model, "horizon": horizon, "variable": variable, **figures})
    scores = pl.DataFrame(rows)
    meaningless = ([] if is_count else ["msle"]) + ([] if are_flows else ["cpc"])
    return scores.with_columns(pl.lit(float("nan")).alias(metric) for metric in meaningless)


def measure(
    forecast: np.ndarray, truth: np.ndarray, mask: np.ndarray, unit: np.ndarray, floor: np.ndarray
) -> dict[str, float]:
    """All metrics over the observed values of [C, H, N, F]; NaN where there is nothing to measure."""
    count = int(mask.sum())
    if count == 0:
        return {**dict.fromkeys(METRICS, float("nan")), "count": 0}
    size = np.abs(truth)
    error = np.where(mask, np.abs(forecast - truth), 0.0)
    sums = size + np.abs(forecast)
    relative = mask & (size >= floor) & (size > 0)
    scaled = mask & ~np.isnan(unit)
    squares, counts = (error**2).sum(axis=(0, 1)), mask.sum(axis=(0, 1))
    return {
        "mae": float(error.sum() / count),
        "rmse": float(np.sqrt(squares.sum() / count)),
        "node_rmse": float(np.sqrt(squares[counts > 0] / counts[counts > 0]).mean()),
        "mape": _mean(np.divide(error, size, where=relative, out=np.zeros_like(error)), relative),
        "smape": _mean(np.divide(2 * error, sums, where=mask & (sums > 0), out=np.zeros_like(error)), mask),
        "mase": _mean(np.where(scaled, error / np.where(np.isnan(unit), 1.0, unit), 0.0), scaled),
        "msle": _squared_log_error(forecast[mask], truth[mask]),
        "cpc": _common_part(forecast[mask], truth[mask]),
        "count": count,
    }


def _squared_log_error(forecast: np.ndarray, truth: np.ndarray) -> float:
    """NaN where there is no logarithm to compare."""
    if min(forecast.min(), truth.min()) <= -1:
        return float("nan")
    return float(((np.log1p(forecast) - np.log1p(truth)) ** 2).mean())


def _common_part(forecast: np.ndarray, truth: np.ndarray) -> float:
    """NaN where nothing flows and nothing was forecast to, or where a value is negative."""
    total = float(forecast.sum() + truth.sum())
    if total == 0 or min(forecast.min(), truth.min()) < 0:
        return float("nan")
    return 2 * float(np.minimum(forecast, truth).sum()) / total


def _mean(values: np.ndarray, mask: np.ndarray) -> float:
    return float(values.sum() / mask.sum()) if mask.any() else float("nan")


def _mean_size(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask, np.abs(truth), 0.0).sum(axis=(0, 1)) / np.maximum(mask.sum(axis=(0, 1)), 1)


def _choices(variables: tuple[str, ...]) -> list[tuple[str, slice]]:
    each = [(name, slice(i, i + 1)) for i, name in enumerate(variables)]
    return [("all", slice(None)), *(each if len(each) > 1 else [])]
