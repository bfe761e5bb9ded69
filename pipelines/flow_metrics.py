"""Scores of flows: of every pair, and of what leaves and reaches each node as the sum of its pairs.

Totals are sums of the forecasts themselves, never forecasts of their own, so the two always agree. They are those
among the chosen nodes, and inflow counts when a trip begins: a flow is told where it leads at its start.
"""

import numpy as np
import polars as pl

from pipelines.metrics import naive_error, score

TOTALS = {"outflow": 3, "inflow": 2}  # name -> the axis of [C, H, source, target] that is summed


def node_totals(flows: np.ndarray, total: str) -> np.ndarray:
    """The `outflow` or `inflow` [..., N, 1] of flows [..., N, N], source by target."""
    return flows.sum(axis=TOTALS[total] - 4).reshape(*flows.shape[:-1], 1)


def total_mask(mask: np.ndarray, total: str) -> np.ndarray:
    """A total was observed where all its flows were, [..., N, 1]."""
    return mask.all(axis=TOTALS[total] - 4).reshape(*mask.shape[:-1], 1)


def score_flows(
    forecasts: dict[str, np.ndarray],
    truth: np.ndarray,
    mask: np.ndarray,
    *,
    training: tuple[np.ndarray, np.ndarray],
    season: int,
) -> pl.DataFrame:
    """Scores of forecasts [C, H, N, N] as `metrics.score` has them: "all" is every pair, then outflow and inflow.

    `training` holds values and mask [T, N, N], for the unit of MASE: the error of the naive forecast of `season` steps.
    """
    unit = naive_error(*training, season)
    parts = [score(forecasts, truth, mask, variables=("flow",), unit=unit, is_count=True, are_flows=True)]
    for total in TOTALS:
        summed = {model: node_totals(forecast, total) for model, forecast in forecasts.items()}
        observed = total_mask(training[1], total)
        known = node_totals(np.where(training[1], training[0], 0.0), total)
        scores = score(
            summed,
            node_totals(truth, total),
            total_mask(mask, total),
            variables=(total,),
            unit=naive_error(known, observed, season),
            is_count=True,
            are_flows=True,
        )
        parts.append(scores.with_columns(variable=pl.lit(total)))
    return pl.concat(parts)
