"""Utility against privacy, to look at: how loud the noise is, what of an error is the noise's own, what more costs."""

import math

import numpy as np

from pipelines.privacy.claim import Claim, rounded_up
from pipelines.privacy.utility import Point
from pipelines.report.figures import Figure, numbers, thinned
from pipelines.report.words import chart_text, model_title, number
from pipelines.results import Backtest

MOST_ROWS = 24


def typical_values(backtest: Backtest) -> np.ndarray:
    """Median size of the released values of each node and variable in the test range, [N, F]; NaN if unobserved."""
    sizes = np.where(backtest.mask, np.abs(backtest.truth), np.nan)
    flat = np.moveaxis(sizes.reshape(-1, *sizes.shape[2:]), 0, -1)  # [N, F, C * H]
    observed = ~np.isnan(flat).all(axis=-1)
    typical = np.full(flat.shape[:2], np.nan)
    typical[observed] = np.nanmedian(flat[observed], axis=-1)
    return typical


def loudness_figure(backtest: Backtest, variance: np.ndarray, labels: dict[str, str], called: dict[str, str]) -> Figure:
    """A row a node and variable: the noise on the left, the typical value on the right, their distance between."""
    typical = typical_values(backtest)
    rows = [(float(typical[n, f]), n, f) for n, f in np.argwhere(typical > 0)]
    rows = sorted(rows)  # Plotly starts at the bottom, so the busiest is on top
    keep = [rows[i] for i in thinned(len(rows), MOST_ROWS)] if rows else []
    places = list(range(len(keep)))
    noise = [math.sqrt(float(variance[f])) for _, _, f in keep]
    names = [_row_name(backtest, labels, called, n, f) for _, n, f in keep]
    across = [end for (value, _, _), std in zip(keep, noise, strict=True) for end in (std, value, None)]
    link = {"color": "--faint", "width": 2}
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [None if end is None else numbers([end])[0] for end in across],
            "y": [place for place in places for _ in range(3)],
            "line": link,
            "showlegend": False,
            "hoverinfo": "skip",
        },
        _dots("noise (standard deviation)", noise, places, names, "--rival", "diamond"),
        _dots("typical released value", [value for value, _, _ in keep], places, names, "--ours", "circle"),
    ]
    ends = [value for value, _, _ in keep] + noise
    ticks = {"dtick": 1 if ends and max(ends) > 50 * min(ends) else "D2"}  # D2: 1, 2, 5, 10
    subset = "" if len(keep) == len(rows) else f" Shown: {len(keep)} of {len(rows)}, from the busiest to the quietest."
    return Figure(
        name="loudness",
        alt="Noise beside the typical released value of each node",
        caption="How to read: each row is one series of released counts. The diamond is the noise that was added to "
        "every value of it, the dot its typical value in a step; equal distances on this axis are equal ratios. The "
        "longer the line between them, the less the noise is felt; where the diamond lies right of the dot, noise is "
        f"most of what a forecast sees.{subset}",
        height=110 + 22 * max(len(places), 1),
        traces=traces,
        layout={
            "xaxis": {"type": "log", "title": {"text": "released value in a step, and noise in it"}, **ticks},
            "yaxis": {"tickvals": places, "ticktext": [chart_text(name) for name in names], "showgrid": False},
            "legend": {"traceorder": "normal"},
        },
        narrow={"yaxis": {"ticktext": [chart_text(name, 16) for name in names]}},
    )


def _row_name(backtest: Backtest, labels: dict[str, str], called: dict[str, str], node: int, variable: int) -> str:
    name = labels[backtest.nodes[node]]
    return name if len(backtest.variables) == 1 else f"{name}, {called[backtest.variables[variable]]}"


def _dots(name: str, values: list[float], places: list[int], names: list[str], colour: str, symbol: str) -> dict:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": numbers(values),
        "y": places,
        "text": [chart_text(each, 60) for each in names],
        "marker": {"color": colour, "size": 9, "symbol": symbol},
        "hovertemplate": "%{text}: %{x:.4~g}",
    }


def errors_figure(backtest: Backtest, noise: float) -> Figure:
    """Bars for the root mean square error of every model, the smallest on top, and a line at what is noise alone."""
    errors = {model: backtest.total(model, "rmse") for model in backtest.forecasts}
    order = sorted((model for model in errors if math.isfinite(errors[model])), key=lambda model: -errors[model])
    places, floor = list(range(len(order))), math.sqrt(noise)
    names = [model_title(model) for model in order]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": places,
        "x": numbers([errors[model] for model in order]),
        "text": [f" {number(errors[model])}" for model in order],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": ["--ours" if model == backtest.model else "--bar" for model in order]},
        "hovertemplate": "%{x:.4~g}",
    }
    line = {"type": "line", "x0": floor, "x1": floor, "yref": "paper", "y0": 0, "y1": 1}
    told = {"x": floor, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "left", "showarrow": False}
    marks = {
        "shapes": [{**line, "line": {"color": "--rival", "width": 2, "dash": "dash"}}],
        "annotations": [{**told, "text": "noise alone", "font": {"color": "--rival"}}],
    }
    most = max([*errors.values(), floor], default=1.0)
    return Figure(
        name="private-errors",
        alt="Root mean square error of every model, and what of it is noise of the released counts",
        caption="How to read: a bar is the root mean square error of a model, judged by the released counts, which are "
        "noised themselves. The dashed line is what a forecast of the exact true counts would be off by. Errors add up "
        "in squares, so a bar twice as long as the line owes a quarter of its square to the noise."
        if noise
        else "How to read: a bar is the root mean square error of a model, judged by raw counts. These figures are no "
        "part of what is promised, and stay in the house.",
        height=100 + 28 * len(places),
        traces=[bars],
        layout={
            "xaxis": {"title": {"text": "root mean square error"}, "range": [0, 1.15 * most]},
            "yaxis": {
                "tickvals": places,
                "ticktext": [chart_text(model_title(model)) for model in order],
                "showgrid": False,
            },
            "showlegend": False,
            "margin": {"t": 26},
            **(marks if noise else {}),
        },
        narrow={"yaxis": {"ticktext": [chart_text(name, 16) for name in names]}},
    )


def trade_figure(points: list[Point], claim: Claim) -> Figure | None:
    """Error against epsilon over registered versions; None where there are not two to compare."""
    private = [point for point in points if point.epsilon is not None]
    plain = [point for point in points if point.epsilon is None]
    epsilons = sorted({point.epsilon for point in private if point.epsilon is not None})
    if not epsilons or len(epsilons) + bool(plain) < 2:
        return None
    is_noised = any(point.noise for point in private)
    told = "noise of the released counts taken out" if is_noised else "judged by raw counts"
    traces = [_versions(private, told, "circle", [point.without_noise for point in private])]
    if is_noised:
        traces.insert(0, _versions(private, "judged by the released counts", "circle-open", [p.rmse for p in private]))
    best = min((point.rmse for point in plain), default=None)
    span = f" over {claim.span}" if claim.span else ""
    return Figure(
        name="trade",
        alt="Error of registered versions against what each promises",
        caption="How to read: each dot is a registered version that was judged on the same test range; further left, "
        "it promises more. Large dots are this run's. "
        + ("The dashed line is the best version without a promise, judged by raw counts. " if best is not None else "")
        + ("Open dots are judged by their own release, whose noise differs. " if is_noised else "")
        + "Versions that promise another thing are not comparable and left out.",
        height=380,
        traces=traces,
        layout={
            "xaxis": {
                "type": "log",
                "title": {
                    "text": f"epsilon of one {claim.unit}{span}<br>(delta = {claim.delta:.3g}; {claim.relation}; "
                    f"{claim.accountant})"
                },
                "tickvals": epsilons,
                "ticktext": [rounded_up(value) for value in epsilons],
                "range": _padded(epsilons),
            },
            "yaxis": {"title": {"text": "root mean square error"}},
            **({"shapes": [_level(best)], "annotations": [_level_words(best)]} if best is not None else {}),
        },
    )


def _padded(epsilons: list[float]) -> list[float]:
    """The range of a logarithmic axis, in powers of ten."""
    ends = [math.log10(value) for value in (min(epsilons), max(epsilons))]
    return [ends[0] - 0.25, ends[1] + 0.25]


def _versions(points: list[Point], name: str, symbol: str, errors: list[float]) -> dict:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": numbers([point.epsilon for point in points]),
        "y": numbers(errors),
        "text": [chart_text(f"version {point.version}, {model_title(point.model)}", 60) for point in points],
        "marker": {
            "color": ["--ours" if point.is_ours else "--rival" for point in points],
            "size": [14 if point.is_ours else 9 for point in points],
            "symbol": symbol,
            "line": {"width": 2},
        },
        "hovertemplate": "%{text}: %{y:.4~g}",
    }


def _level(height: float) -> dict:
    place = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": height, "y1": height}
    return {**place, "line": {"color": "--ink", "width": 1, "dash": "dash"}}


def _level_words(height: float) -> dict:
    place = {"xref": "paper", "x": 1, "xanchor": "right", "y": height, "yanchor": "bottom"}
    return {**place, "text": "no promise", "showarrow": False}
