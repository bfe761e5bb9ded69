"""The chart that a reader browses: forecast against truth, for a node, a variable and a lead time of their choice."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.dataset import DataSet
from data.flow_panel import target_variable
from data.panel import Panel
from pipelines.prepare import flows_among
from pipelines.report.comparison import Comparison, busiest_nodes
from pipelines.report.figures import numbers, stamps
from pipelines.report.words import chart_text, lead, lead_times, model_title
from pipelines.results import Backtest, Forecast

MOST_NODES = 12
MOST_VARIABLES = 6
MOST_CUTOFFS = 1500
BUDGET = 250_000  # numbers in the page, about 2 MB


@dataclass(frozen=True)
class Browse:
    """`content` goes into the page; the rest says what of the backtest is in it."""

    content: dict[str, Any]
    nodes: list[str]  # labels
    variables: list[str]
    leads: list[str]
    cutoffs: int  # how many of the newest are shown


def browse(
    dataset: DataSet, backtest: Backtest, forecast: Forecast, comparison: Comparison, labels: dict[str, str]
) -> Browse:
    """All series share one clock that starts at the first target shown and ends with the data."""
    rows = busiest_nodes(backtest, MOST_NODES)
    columns = list(range(len(backtest.variables)))[:MOST_VARIABLES]
    leads = lead_times(backtest.truth.shape[1])
    at = dataset.panel.index.get_indexer(backtest.cutoffs)
    cutoffs = _affordable(at, pairs=len(rows) * len(columns), leads=len(leads))
    at = at[-cutoffs:]
    first = int(at[0]) + 1
    names, variables = [backtest.nodes[n] for n in rows], [backtest.variables[f] for f in columns]
    panel = _truth(dataset, backtest).choose(names, variables)
    called = variables_called(backtest, labels)
    content = {
        "time": stamps(panel.index[first:]),
        "at": [(at + h - first).tolist() for h in leads],
        "next": _next_times(forecast, dataset.panel.timezone),
        "newest": int(np.clip(8 * backtest.truth.shape[1], 60, 200)),
        "connected": bool(np.all(np.diff(at) == 1)),
        "ours": chart_text(model_title(backtest.model)),
        "rival": chart_text(model_title(comparison.rival)) if comparison.rival else None,
        "nodes": [chart_text(labels[name], 60) for name in names],
        "variables": [chart_text(called[name], 60) for name in variables],
        "series": [
            [
                {
                    "truth": numbers(panel.values[first:, i, j]),
                    "leads": [_drawn(backtest, comparison, (slice(-cutoffs, None), h - 1, n, f)) for h in leads],
                    "next": _next_values(forecast, names[i], variables[j]),
                }
                for j, f in enumerate(columns)
            ]
            for i, n in enumerate(rows)
        ],
    }
    return Browse(
        content=content,
        nodes=[labels[name] for name in names],
        variables=[called[name] for name in variables],
        leads=[f"{lead(h, backtest.interval)} ahead" for h in leads],
        cutoffs=cutoffs,
    )


def variables_called(backtest: Backtest, labels: dict[str, str]) -> dict[str, str]:
    """What the page calls each variable: of flows, "to" the label of the node that it stands for."""
    if not backtest.are_flows:
        return {name: name for name in backtest.variables}
    return {target_variable(node): target_variable(labels[node]) for node in backtest.nodes}


def _truth(dataset: DataSet, backtest: Backtest) -> Panel:
    return flows_among(dataset, list(backtest.nodes)) if backtest.are_flows else dataset.panel


def _affordable(at: np.ndarray, *, pairs: int, leads: int) -> int:
    """How many of the newest cutoffs fit the budget: a cutoff costs its truth, its forecasts and its time stamps."""
    stride = int(np.median(np.diff(at))) if len(at) > 1 else 1
    cost = pairs * (stride + 4 * leads) + 4 * stride
    return max(1, min(len(at), MOST_CUTOFFS, BUDGET // cost))


def _drawn(backtest: Backtest, comparison: Comparison, where: tuple[Any, ...]) -> dict[str, Any]:
    band = backtest.intervals[backtest.served]
    rival = {"rival": numbers(backtest.forecasts[comparison.rival][where])} if comparison.rival else {}
    return {
        "ours": numbers(backtest.forecasts[backtest.model][where]),
        "lower": numbers(band.lower[where]),
        "upper": numbers(band.upper[where]),
        **rival,
    }


def _next_times(forecast: Forecast, timezone: str) -> list[str]:
    local = pl.col("ds").dt.convert_time_zone(timezone).dt.strftime("%Y-%m-%d %H:%M")
    first = forecast.frame.head(1).select("unique_id", "variable")
    return forecast.frame.join(first, on=["unique_id", "variable"]).sort("lead_time").select(local)["ds"].to_list()


def _next_values(forecast: Forecast, node: str, variable: str) -> dict[str, Any]:
    one = forecast.frame.filter((pl.col("unique_id") == node) & (pl.col("variable") == variable)).sort("lead_time")
    quantiles = sorted((c for c in one.columns if c[:1] == "q" and c[1:].isdigit()), key=lambda c: float(f"0.{c[1:]}"))
    return {
        "ours": numbers(one["forecast"]),
        "lower": numbers(one[quantiles[0]]),
        "upper": numbers(one[quantiles[-1]]),
    }
