"""Our model against its yardsticks: who is best, by how much, where and when."""

import math
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.metrics import LARGER_IS_BETTER
from pipelines.report.words import aligned, model_title, number, percent
from pipelines.results import Backtest

METRICS = ["mae", "rmse", "mape", "smape", "mase", "msle"]
SHARES = {"mape", "smape"}
A_TIE = 0.005  # closer than half a percent is no difference worth a sentence


@dataclass(frozen=True)
class Comparison:
    """Mean absolute error over all cutoffs, lead times, nodes and variables. `rival` is the best yardstick, if any."""

    ours: str
    mae: float
    rival: str | None
    rival_mae: float

    @property
    def gain(self) -> float:
        """The share by which our error is below the rival's: negative when we lose, NaN when there is no rival."""
        if self.rival is None:
            return math.nan
        if self.rival_mae == 0:
            return 0.0 if self.mae == 0 else -math.inf
        return 1 - self.mae / self.rival_mae

    @property
    def standing(self) -> str:
        return standing(self.rival, self.gain)


def standing(rival: str | None, gain: float) -> str:
    """One of "alone", "wins", "ties", "loses"; a yardstick wins where the gain is no number."""
    if rival is None:
        return "alone"
    if abs(gain) < A_TIE:
        return "ties"
    return "wins" if gain > 0 else "loses"


def compare(backtest: Backtest) -> Comparison:
    maes = {model: backtest.total(model, "mae") for model in backtest.forecasts}
    mae = maes.pop(backtest.model)
    rivals = {model: value for model, value in maes.items() if math.isfinite(value)}
    rival = min(rivals, key=rivals.__getitem__, default=None)
    return Comparison(backtest.model, mae, rival, rivals[rival] if rival else math.nan)


def verdict(comparison: Comparison) -> str:
    """The headline: it says so when a yardstick is better."""
    ours, mae = model_title(comparison.ours), number(comparison.mae)
    match comparison.standing:
        case "alone":
            return f"{ours} is off by {mae} on average. No yardstick was run, so nothing says whether that is good."
        case "ties":
            rival = model_title(str(comparison.rival))
            return f"{ours} is no better than a yardstick: it is off by {mae} on average, and so is {rival}."
        case "wins":
            rival = model_title(str(comparison.rival))
            return (
                f"{ours} is off by {mae} on average, {percent(comparison.gain)} less than the best yardstick, {rival}."
            )
        case _:
            rival, least = model_title(str(comparison.rival)), number(comparison.rival_mae)
            return f"{ours} loses to a yardstick: it is off by {mae} on average, {rival} only by {least}."


def metrics_of(backtest: Backtest) -> list[str]:
    """Those of the yardstick table; MSLE of counts alone, CPC of flows."""
    has_logarithm = any(math.isfinite(backtest.total(model, "msle")) for model in backtest.forecasts)
    metrics = METRICS if has_logarithm else [metric for metric in METRICS if metric != "msle"]
    return [*metrics, "cpc"] if backtest.are_flows else metrics


@dataclass(frozen=True)
class Row:
    """A line of the yardstick table. `best` names the metrics in which no model is better."""

    title: str
    is_ours: bool
    cells: dict[str, str]
    best: set[str]
    ratio: str


def table(backtest: Backtest, comparison: Comparison) -> list[Row]:
    """All models, the smallest error first."""
    metrics = metrics_of(backtest)
    scores = {m: {metric: backtest.total(m, metric) for metric in metrics} for m in backtest.forecasts}
    columns = {metric: [scores[m][metric] for m in scores] for metric in metrics}
    cells = {
        metric: dict(zip(scores, aligned(column, shares=metric in SHARES), strict=True))
        for metric, column in columns.items()
    }
    best = {
        metric: (max if metric in LARGER_IS_BETTER else min)(filter(math.isfinite, column), default=None)
        for metric, column in columns.items()
    }
    order = sorted(scores, key=lambda m: (math.isnan(scores[m]["mae"]), scores[m]["mae"]))
    return [
        Row(
            title=model_title(model),
            is_ours=model == backtest.model,
            cells={metric: cells[metric][model] for metric in metrics},
            best={metric for metric in metrics if scores[model][metric] == best[metric]},
            ratio=_ratio(scores[model]["mae"], comparison.rival_mae),
        )
        for model in order
    ]


def _ratio(mae: float, rival_mae: float) -> str:
    if not math.isfinite(mae / rival_mae if rival_mae else math.nan):
        return "–"
    return f"{mae / rival_mae:.2f}"


def error_by_horizon(backtest: Backtest, model: str) -> np.ndarray:
    """Mean absolute error of `model` at each lead time, [H]."""
    rows = backtest.scores.filter(
        (pl.col("model") == model) & (pl.col("variable") == "all") & (pl.col("horizon") > 0)
    ).sort("horizon")
    return rows["mae"].to_numpy()


def error_by_node(backtest: Backtest, model: str) -> np.ndarray:
    """Mean absolute error of `model` at each node over cutoffs, lead times and variables, [N]; NaN where unobserved."""
    error = np.where(backtest.mask, np.abs(backtest.forecasts[model] - backtest.truth), 0.0)
    count = backtest.mask.sum(axis=(0, 1, 3))
    return np.where(count > 0, error.sum(axis=(0, 1, 3)) / np.maximum(count, 1), np.nan)


def busiest_nodes(backtest: Backtest, count: int) -> list[int]:
    """Positions of the `count` nodes with the largest observed volume in the test range, the busiest first."""
    volume = np.where(backtest.mask, np.abs(backtest.truth), 0.0).sum(axis=(0, 1, 3))
    return [int(n) for n in np.argsort(-volume, kind="stable")[:count]]
