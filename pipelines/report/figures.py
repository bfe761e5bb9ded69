"""The charts of the report as plain Plotly data, without numbers that nobody can see.

A colour is the name of a variable in style.css (`--ours`): the page looks it up, so that one chart serves light and
dark. `narrow` holds what changes in the layout on a phone.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from data.panel import Panel
from pipelines.report.comparison import Comparison, busiest_nodes, error_by_horizon, error_by_node
from pipelines.report.words import chart_text, model_title, percent, steps_ahead
from pipelines.results import Backtest, History

MOST_BARS = 30
MOST_POINTS = 400
DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"]
INTERVAL_METHODS = {"split": "split conformal", "adaptive": "adaptive conformal"}


@dataclass(frozen=True)
class Figure:
    """One chart: what Plotly draws, how tall, what a screen reader says, and the sentence on how to read it."""

    name: str
    alt: str
    caption: str
    height: int
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    narrow: dict[str, Any] = field(default_factory=dict)


def numbers(values: Any) -> list[Any]:
    """Nested lists with five significant digits and null where there is no number: what JSON and the eye can take."""
    array = np.asarray(values, dtype=float)
    if array.ndim > 1:
        return [numbers(row) for row in array]
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in array.tolist()]


def stamps(index: pd.DatetimeIndex) -> list[str]:
    """Local wall time: Plotly knows no time zones, and would show an offset as if it were not there."""
    return index.tz_localize(None).strftime("%Y-%m-%d %H:%M").tolist()


def thinned(length: int, most: int) -> np.ndarray:
    """At most `most` positions out of `length`, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int))


def horizon_figure(backtest: Backtest) -> Figure:
    yardsticks = [model for model in backtest.forecasts if model != backtest.model]
    lines = [_horizon_line(backtest, model, i) for i, model in enumerate(yardsticks)]
    ours = {"color": "--ours", "width": 3.5}
    return Figure(
        name="horizon",
        alt="Mean absolute error of every model at each lead time",
        caption="How to read: the further right, the further ahead the forecast looks; the lower a line, the smaller "
        "the error. A line that ends above another has lost its advantage by then.",
        height=380,
        traces=[*lines, {**_horizon_line(backtest, backtest.model, 0), "line": ours}],
        layout={
            "xaxis": _lead_axis(backtest),
            "yaxis": {"title": {"text": "mean absolute error"}, "rangemode": "tozero"},
            "legend": {"traceorder": "reversed"},
        },
        narrow={"height": 440},
    )


def _lead_axis(backtest: Backtest) -> dict[str, Any]:
    horizon = backtest.truth.shape[1]
    apart = next((gap for most, gap in ((12, 1), (24, 3), (48, 6), (168, 24)) if horizon <= most), None)
    ticks = {"tick0": 0, "dtick": apart} if apart else {}
    margin = 0.02 * horizon if horizon > 1 else 0.5
    text = steps_ahead(backtest.interval)
    return {"title": {"text": text}, "showgrid": False, "range": [1 - margin, horizon + margin], **ticks}


def _horizon_line(backtest: Backtest, model: str, place: int) -> dict[str, Any]:
    errors = error_by_horizon(backtest, model)
    keep = thinned(len(errors), MOST_POINTS)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": chart_text(model_title(model)),
        "x": (keep + 1).tolist(),
        "y": numbers(errors[keep]),
        "line": {"color": f"--line-{place % 6 + 1}", "width": 1.75, "dash": DASHES[place % len(DASHES)]},
        "hovertemplate": "%{x} ahead: %{y:.4~g}",
    }


def node_figure(backtest: Backtest, comparison: Comparison, labels: dict[str, str]) -> Figure:
    """Bars for our error, the largest on top, and a mark where the best yardstick would be."""
    shown = busiest_nodes(backtest, MOST_BARS)
    ours = error_by_node(backtest, backtest.model)[shown]
    order = np.argsort(np.where(np.isnan(ours), -1, ours), kind="stable")  # Plotly starts at the bottom
    names = [labels[backtest.nodes[shown[i]]] for i in order]
    places = list(range(len(order)))
    bars = {
        "type": "bar",
        "orientation": "h",
        "name": model_title(backtest.model),
        "y": places,
        "x": numbers(ours[order]),
        "text": [chart_text(name, 60) for name in names],
        "textposition": "none",
        "marker": {"color": "--bar"},
        "hovertemplate": "%{text}: %{x:.4~g}",
    }
    mark = _rival_mark(backtest, comparison, [shown[i] for i in order], places) if comparison.rival else []
    subset = (
        "" if len(shown) == len(backtest.nodes) else f" Shown: the {len(shown)} busiest of {len(backtest.nodes)} nodes."
    )
    return Figure(
        name="nodes",
        alt="Mean absolute error at each node",
        caption="How to read: a bar is the model's mean absolute error at that node; busy nodes have longer bars "
        f"because there is more to be wrong about. A mark left of the bar's end is a yardstick that did better "
        f"there.{subset}",
        height=110 + 21 * len(places),
        traces=[bars, *mark],
        layout={
            "xaxis": {"title": {"text": "mean absolute error"}, "rangemode": "tozero"},
            "yaxis": {"tickvals": places, "ticktext": [chart_text(name) for name in names], "showgrid": False},
            "bargap": 0.35,
        },
        narrow={"yaxis": {"ticktext": [chart_text(name, 16) for name in names]}},
    )


def _rival_mark(
    backtest: Backtest, comparison: Comparison, nodes: list[int], places: list[int]
) -> list[dict[str, Any]]:
    rival = str(comparison.rival)
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": chart_text(model_title(rival)),
            "y": places,
            "x": numbers(error_by_node(backtest, rival)[nodes]),
            "marker": {"symbol": "line-ns", "size": 11, "line": {"width": 2.5, "color": "--rival"}, "color": "--rival"},
            "hovertemplate": "%{x:.4~g}",
        }
    ]


def calibration_figure(backtest: Backtest) -> Figure:
    intervals = backtest.intervals
    level = intervals[backtest.served].level
    horizon = backtest.truth.shape[1]
    steps = thinned(horizon, MOST_POINTS)
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers" if horizon <= 48 else "lines",
            "name": INTERVAL_METHODS.get(method, method) + (" (served)" if method == backtest.served else ""),
            "x": (steps + 1).tolist(),
            "y": numbers(found.coverage_by_horizon[steps]),
            "line": {"color": "--ours", "width": 2.5}
            if method == backtest.served
            else {"color": "--line-1", "dash": "dash"},
            "hovertemplate": "%{x} ahead: %{y:.1%}",
        }
        for method, found in intervals.items()
    ]
    lowest = min(float(share) for found in intervals.values() for share in found.coverage_by_horizon if share >= 0)
    return Figure(
        name="calibration",
        alt="Share of the truth inside the prediction intervals at each lead time",
        caption="How to read: a point is the share of observed values that fell inside the interval at that lead "
        f"time. The closer to the line at {percent(level)}, the better; below it the intervals are too narrow. The "
        "shaded band is three points to either side.",
        height=320,
        traces=traces,
        layout={
            "xaxis": _lead_axis(backtest),
            "yaxis": {"tickformat": ".0%", "range": [min(lowest, level - 0.08) - 0.02, 1.005]},
            "shapes": [_nominal_line(level), _nominal_band(level)],
            "showlegend": True,
        },
    )


def _nominal_line(level: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": level,
        "y1": level,
        "line": {"color": "--ink", "width": 1},
    }


def _nominal_band(level: float) -> dict[str, Any]:
    place = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": level - 0.03, "y1": min(level + 0.03, 1)}
    return {**place, "fillcolor": "--shade", "line": {"width": 0}, "layer": "below"}


def rejection_figure(rejected: dict[str, int]) -> Figure:
    reasons = sorted(rejected, key=rejected.__getitem__)
    names = [reason.replace("_", " ") for reason in reasons]
    places = list(range(len(reasons)))
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": places,
        "x": [rejected[reason] for reason in reasons],
        "text": [f"{rejected[reason]:,}" for reason in reasons],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": "--rival"},
        "hovertemplate": "%{x:,} rows",
    }
    return Figure(
        name="rejected",
        alt="Rejected rows by reason",
        caption="How to read: each bar counts the rows that were left out for one reason; every row is in exactly one.",
        height=70 + 32 * len(places),
        traces=[bars],
        layout={
            "xaxis": {"visible": False, "range": [0, 1.18 * max(rejected.values())]},
            "yaxis": {"tickvals": places, "ticktext": [chart_text(name, 34) for name in names], "showgrid": False},
            "showlegend": False,
        },
        narrow={"yaxis": {"ticktext": [chart_text(name, 18) for name in names]}},
    )


def observed_figure(panel: Panel) -> Figure:
    """A strip for each variable: which share of the nodes was observed in each stretch of time."""
    edges = thinned(len(panel.index) + 1, 301)
    shares = np.add.reduceat(panel.mask.mean(axis=1), edges[:-1], axis=0) / np.diff(edges)[:, None]  # [bins, F]
    shown = panel.variables[:MOST_BARS]
    strip = {
        "type": "heatmap",
        "x": stamps(panel.index[edges[:-1]]),
        "y": list(range(len(shown))),
        "z": numbers(shares.T[: len(shown)]),
        "zmin": 0,
        "zmax": 1,
        "ygap": 3,
        "showscale": False,
        "colorscale": [[0, "--gap"], [1, "--seen"]],
        "hovertemplate": "%{x}: %{z:.1%} observed",
    }
    ticks = {
        "tickvals": list(range(len(shown))),
        "ticktext": [chart_text(name, 16) for name in shown],
        "showgrid": False,
    }
    return Figure(
        name="observed",
        alt="Share of the values that was observed, over time",
        caption="How to read: each strip is one variable from the first to the last step; one colour throughout "
        "means that every node was observed, a stripe of another colour is a gap.",
        height=70 + 34 * len(shown),
        traces=[strip],
        layout={"xaxis": {"showgrid": False}, "yaxis": ticks},
    )


def training_figure(history: History) -> Figure:
    keep = thinned(len(history.epochs), MOST_POINTS)
    epochs = history.epochs[keep].with_columns(pl.col("epoch") + 1)  # counted from 0 in the record, from 1 in words
    lines = [
        _loss_line(epochs, "train_loss", "training", {"color": "--line-1", "width": 2, "dash": "dash"}),
        _loss_line(epochs, "validation_loss", "validation", {"color": "--ours", "width": 2.5}),
    ]
    return Figure(
        name="training",
        alt="Training and validation loss by epoch",
        caption="How to read: both lines should fall. When validation rises while training still falls, the model has "
        "begun to learn the training range by heart; the weights come from the marked epoch, before that.",
        height=320,
        traces=lines,
        layout={
            "xaxis": {"title": {"text": "epoch"}, "showgrid": False, **({"dtick": 1} if len(epochs) < 10 else {})},
            "yaxis": {"title": {"text": "loss (scaled values)"}},
            **epoch_mark(history.best_epoch + 1, len(history.epochs)),
        },
    )


def epoch_mark(best: int, total: int) -> dict[str, Any]:
    """The part of a layout that marks the epoch whose weights the model has, counted from 1."""
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": best, "x1": best}
    words = {"x": best, "y": 1, "yref": "paper", "yanchor": "top", "text": f" epoch {best} ", "showarrow": False}
    return {
        "shapes": [{**line, "line": {"color": "--faint", "width": 1}}],
        "annotations": [{**words, "xanchor": "left" if 2 * best < total else "right"}],
    }


def _loss_line(epochs: pl.DataFrame, column: str, name: str, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(epochs) < 60 else "lines",
        "name": name,
        "x": epochs["epoch"].to_list(),
        "y": numbers(epochs[column]),
        "line": line,
        "marker": {"size": 5},
        "hovertemplate": "epoch %{x}: %{y:.4~g}",
    }
