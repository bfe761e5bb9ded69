"""Charts of the figures: the models beside each other, and step by step."""

from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from pipelines.graph_task.evaluate import GraphBacktest
from pipelines.graph_task.report.comparison import METRICS, GraphComparison, course
from pipelines.graph_task.tables import ordered
from pipelines.report.figures import DASHES, MOST_POINTS, Figure, epoch_mark, numbers, thinned
from pipelines.report.network_figures import axis, times
from pipelines.report.words import chart_text, model_title
from pipelines.results import History

HALVES = ([0, 0.46], [0.54, 1])  # of the chart's width, where two panels stand side by side
FEW_STEPS = 12
UPPER, LOWER = [0.38, 1], [0, 0.28]  # of its height, where one stands above the other


def scores_figure(result: GraphBacktest) -> Figure:
    """Bars for each of the metrics, the best model on top."""
    models = ordered(result)[::-1]  # Plotly starts at the bottom
    places = list(range(len(models)))
    titles = [chart_text(model_title(model), 40) for model in models]
    ticks = {"tickvals": places, "ticktext": titles, "showgrid": False}
    return Figure(
        name="scores",
        alt="The figures of every model",
        caption="How to read: the longer a bar, the better; ours is the dark one.",
        height=90 + 30 * len(models),
        traces=[_bars(result, metric, place, models) for place, metric in enumerate(result.metrics)],
        layout={
            "xaxis": {"domain": HALVES[0], "rangemode": "tozero", "title": {"text": METRICS[result.metrics[0]]}},
            "yaxis": ticks,
            "xaxis2": {
                "domain": HALVES[1],
                "rangemode": "tozero",
                "anchor": "y2",
                "title": {"text": METRICS[result.metrics[1]]},
            },
            "yaxis2": {**ticks, "anchor": "x2", "showticklabels": False},
            "bargap": 0.35,
            "showlegend": False,
        },
        narrow={
            "height": 2 * (80 + 28 * len(models)),
            "xaxis": {"domain": [0, 1]},
            "yaxis": {"domain": [0.58, 1], "ticktext": [chart_text(model_title(model), 20) for model in models]},
            "xaxis2": {"domain": [0, 1]},
            "yaxis2": {
                "domain": [0, 0.42],
                "showticklabels": True,
                "ticktext": [chart_text(model_title(model), 20) for model in models],
            },
        },
    )


def _bars(result: GraphBacktest, metric: str, place: int, models: list[str]) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "y": list(range(len(models))),
        "x": numbers([result.score(model, metric) for model in models]),
        "xaxis": axis("x", place),
        "yaxis": axis("y", place),
        "text": [chart_text(model_title(model), 60) for model in models],
        "textposition": "none",
        "marker": {"color": ["--ours" if model == result.model else "--bar" for model in models]},
        "hovertemplate": f"%{{text}}: %{{x:.4~g}} ({METRICS[metric]})<extra></extra>",
    }


def steps_figure(result: GraphBacktest, found: GraphComparison, clock: pd.Index) -> Figure:
    """A line for each model over the test steps, and below it how far ours is ahead of the best yardstick."""
    tested = result.steps["step"].unique().sort().to_list()
    keep = thinned(len(tested), MOST_POINTS)
    at = times(clock, [tested[place] for place in keep])
    others = [model for model in ordered(result) if model not in (result.model, found.rival)]
    styles = {model: _thin(place) for place, model in enumerate(others)}
    if found.rival is not None:
        styles[found.rival] = {"color": "--rival", "width": 2.25, "dash": "dash"}
    styles[result.model] = {"color": "--ours", "width": 3}
    lines = [_step_line(model, at, course(result, model)[keep], style) for model, style in styles.items()]
    gap = {} if found.rival is None else _gap(result, found, at, keep)
    title = METRICS[found.metric]
    few_ranks = not isinstance(clock, pd.DatetimeIndex) and len(tested) < FEW_STEPS
    return Figure(
        name="steps",
        alt=f"{title} of every model at each test step",
        caption=f"How to read: above, {title} at each step of the test range, ours the thick line; more is better. "
        "Below, how far ours is ahead of the best yardstick at that step: bars that point both ways mean that who is "
        "ahead changes from step to step. A gap is a step that has nothing to tell.",
        height=480 if gap else 360,
        traces=lines + ([gap] if gap else []),
        layout={
            "xaxis": {"showgrid": False, **({"anchor": "y2"} if gap else {}), **({"dtick": 1} if few_ranks else {})},
            "yaxis": {"title": {"text": title}, "rangemode": "tozero", **({"domain": UPPER} if gap else {})},
            **({"yaxis2": {"domain": LOWER, "title": {"text": "ahead by"}, "zeroline": True}} if gap else {}),
            "showlegend": True,
        },
        narrow={"height": 600 if gap else 420, "xaxis": {"nticks": 4}},
    )


def _thin(place: int) -> dict[str, Any]:
    return {"color": f"--line-{(place + 1) % 6 + 1}", "width": 1.25, "dash": DASHES[(place + 2) % len(DASHES)]}


def _step_line(model: str, at: list[Any], values: np.ndarray, style: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(at) < 60 else "lines",
        "name": chart_text(model_title(model), 40),
        "x": at,
        "y": numbers(values),
        "line": style,
        "marker": {"size": 4},
        "hovertemplate": "%{x}: %{y:.4~g}",
    }


def _gap(result: GraphBacktest, found: GraphComparison, at: list[Any], keep: np.ndarray) -> dict[str, Any]:
    gap = (course(result, found.ours) - course(result, str(found.rival)))[keep]
    return {
        "type": "bar",
        "x": at,
        "y": numbers(gap),
        "yaxis": "y2",
        "showlegend": False,
        "marker": {"color": ["--ours" if each >= 0 else "--rival" for each in np.nan_to_num(gap)]},
        "hovertemplate": "%{x}: %{y:+.4~g}<extra></extra>",
    }


def training_figure(history: History, metric: str) -> Figure:
    """The loss above, what the epoch was chosen by below."""
    keep = thinned(len(history.epochs), MOST_POINTS)
    epochs = history.epochs[keep].with_columns(pl.col("epoch") + 1)  # counted from 0 in the record, from 1 in words
    checked = epochs.filter(pl.col("validation_score").is_not_nan())
    few = {"dtick": 1} if len(epochs) < 10 else {}
    return Figure(
        name="training",
        alt="Training loss and validation score by epoch",
        caption=f"How to read: the loss above should fall. The epoch was chosen by what is below, {METRICS[metric]} on "
        "the validation range, where more is better: the weights come from the marked epoch. Where that falls while "
        "the loss still falls, the model has begun to learn the training range by heart.",
        height=420,
        traces=[
            _epoch_line(epochs, "train_loss", "training loss", 0, {"color": "--line-1", "width": 2, "dash": "dash"}),
            _epoch_line(checked, "validation_score", "validation", 1, {"color": "--ours", "width": 2.5}),
        ],
        layout={
            "xaxis": {"title": {"text": "epoch"}, "showgrid": False, "anchor": "y2", **few},
            "yaxis": {"title": {"text": "loss"}, "domain": [0.56, 1], "nticks": 5},
            "yaxis2": {"title": {"text": METRICS[metric]}, "domain": [0, 0.44], "nticks": 5, "rangemode": "tozero"},
            **epoch_mark(history.best_epoch + 1, len(history.epochs)),
            "showlegend": False,
        },
    )


def _epoch_line(epochs: pl.DataFrame, column: str, name: str, place: int, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(epochs) < 60 else "lines",
        "name": name,
        "x": epochs["epoch"].to_list(),
        "y": numbers(epochs[column]),
        "yaxis": axis("y", place),
        "line": line,
        "marker": {"size": 5},
        "hovertemplate": f"epoch %{{x}}: %{{y:.4~g}}<extra>{name}</extra>",
    }
