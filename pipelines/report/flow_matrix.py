"""Forecast flows against real ones, of a backtest whose nodes are sources and whose variables are targets.

Everything is about pairs: each one's mean over the cutoffs and lead times at which it was observed.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.report.figures import Figure, numbers
from pipelines.report.maps import MOST_DOTS, Place, arc, dots, map_layout, named
from pipelines.report.words import chart_text, model_title, number, percent
from pipelines.results import Backtest

MOST_SIDE = 20  # of a heat map: two stand side by side
MOST_ARCS = 40
MOST_NAMED = 6
MOST_PAIRS = 1000  # of the scatter
CLOSE = 0.1  # a forecast within this share of the real flow is neither over nor under
ABOVE, BELOW, NEAR = "forecast too high", "forecast too low", f"within {percent(CLOSE)}"
ARCS = {ABOVE: ("--plus", "solid"), BELOW: ("--minus", "dash"), NEAR: ("--line-4", "solid")}
TAP = {"showticklabels": False, "title": {"text": "to (tap a cell for its names)"}}


@dataclass(frozen=True)
class PairMeans:
    """Mean flow of each pair in the backtest, NaN where it was never observed."""

    sources: tuple[str, ...]  # [N]
    targets: tuple[str, ...]  # [M]
    real: np.ndarray  # [N, M]
    forecast: np.ndarray  # [N, M], over the same values

    def choose(self, sources: list[int], targets: list[int]) -> "PairMeans":
        grid = np.ix_(sources, targets)
        return PairMeans(
            tuple(self.sources[i] for i in sources),
            tuple(self.targets[j] for j in targets),
            self.real[grid],
            self.forecast[grid],
        )


@dataclass(frozen=True)
class Pair:
    source: str
    target: str
    real: float
    forecast: float

    @property
    def size(self) -> float:
        return max(self.real, self.forecast)

    @property
    def judgement(self) -> str:
        if abs(self.forecast - self.real) <= CLOSE * self.real:
            return NEAR
        return ABOVE if self.forecast > self.real else BELOW


def flow_figures(backtest: Backtest, places: dict[str, Place], labels: dict[str, str]) -> list[Figure]:
    """Both mean flows, their difference, on the map where two placed nodes are linked, and one against the other.

    Names of nodes and variables are both names of zones. Empty where no flow was observed.
    """
    means = pair_means(backtest)
    if not np.isfinite(means.real).any():
        return []
    shown, found = busiest(means), pairs(means)
    linked = [p for p in found if p.source in places and p.target in places and p.source != p.target]
    drawn = [
        means_figure(shown, labels, of=means),
        difference_figure(shown, labels, of=means),
        flow_error_map(linked[:MOST_ARCS], places, labels) if linked else None,
        pairs_figure(found, labels, model_title(backtest.model)),
    ]
    return [figure for figure in drawn if figure is not None]


def pair_means(backtest: Backtest) -> PairMeans:
    """Of our model. No copy of the [C, H, N, M] arrays is made: they are the largest of a run."""
    mask = backtest.mask
    count = mask.sum(axis=(0, 1))  # [N, M]
    real, forecast = (
        np.where(count > 0, values.sum(axis=(0, 1), where=mask) / np.maximum(count, 1), np.nan)
        for values in (backtest.truth, backtest.forecasts[backtest.model])
    )
    return PairMeans(backtest.nodes, backtest.variables, real, forecast)


def busiest(means: PairMeans) -> PairMeans:
    """The MOST_SIDE busiest sources and targets, by what leaves and reaches a zone: so both sides have one order."""
    real = np.nan_to_num(means.real)
    total = dict.fromkeys((*means.sources, *means.targets), 0.0)
    for names, sums in ((means.sources, real.sum(axis=1)), (means.targets, real.sum(axis=0))):
        for name, amount in zip(names, sums, strict=True):
            total[name] += float(amount)
    return means.choose(*(_largest(names, total) for names in (means.sources, means.targets)))


def _largest(names: tuple[str, ...], total: dict[str, float]) -> list[int]:
    return sorted(range(len(names)), key=lambda i: (-total[names[i]], names[i]))[:MOST_SIDE]


def pairs(means: PairMeans) -> list[Pair]:
    """Those with any flow, real or forecast, the largest first."""
    seen = np.argwhere(np.isfinite(means.real))
    found = [
        Pair(means.sources[i], means.targets[j], float(means.real[i, j]), float(means.forecast[i, j])) for i, j in seen
    ]
    return sorted((p for p in found if p.size > 0), key=lambda p: (-p.size, p.source, p.target))


# ---------------------------------------------------------------- heat maps


def means_figure(shown: PairMeans, labels: dict[str, str], *, of: PairMeans) -> Figure:
    """Real on the left, forecast on the right (below, on a phone), one scale of colours for both."""
    grids = {"Real": shown.real, "Forecast": shown.forecast}
    top = max(float(np.nanmax(np.log1p(grid.clip(min=0)), initial=0.0)) for grid in grids.values()) or 1.0
    side = len(shown.sources)
    upper, lower = [0.57, 0.96], [0, 0.39]
    x, y = _sides(shown, labels, 16)
    return Figure(
        name="flow-means",
        alt="Mean real flow and mean forecast flow of each pair of zones",
        caption="How to read: a row is where a flow starts, a column where it ends, the busiest first; the stronger "
        "a cell's colour, the more goes there in a step on average. Both have one scale, in logarithms: where the "
        f"pictures look alike, the forecast knows who goes where.{_cut(of)}",
        height=210 + 20 * side,
        traces=[_cells(shown, grid, place, labels) for place, grid in enumerate(grids.values())],
        layout={
            "hovermode": "closest",
            "coloraxis": _logarithmic(top),
            "xaxis": {**x, "domain": [0, 0.485]},
            "yaxis": {**y, "domain": [0, 0.95]},
            "xaxis2": {**x, "domain": [0.515, 1], "anchor": "y2"},
            "yaxis2": {**y, "domain": [0, 0.95], "anchor": "x2", "showticklabels": False, "title": {"text": ""}},
            "annotations": [_heading(name, place) for place, name in enumerate(grids)],
        },
        narrow={
            "height": 680,
            "xaxis": {"domain": [0, 1], "showticklabels": False, "title": {"text": ""}},
            "yaxis": {"domain": upper, "showticklabels": False},
            "xaxis2": {"domain": [0, 1], **TAP},
            "yaxis2": {"domain": lower, "title": {"text": "from"}},
        },
    )


def _cells(shown: PairMeans, grid: np.ndarray, place: int, labels: dict[str, str]) -> dict[str, Any]:
    more = str(place + 1) if place else ""
    return {
        **_grid(shown, labels),
        "z": numbers(np.log1p(grid.clip(min=0))),  # a forecast below 0 is drawn as nothing
        "customdata": numbers(grid),
        "coloraxis": "coloraxis",
        "xaxis": f"x{more}",
        "yaxis": f"y{more}",
        "hovertemplate": "%{text}: %{customdata:,.4~g}<extra></extra>",
    }


def _grid(shown: PairMeans, labels: dict[str, str]) -> dict[str, Any]:
    sources, targets = ([_label(name, labels, 40) for name in side] for side in (shown.sources, shown.targets))
    return {
        "type": "heatmap",
        "x": list(range(len(targets))),
        "y": list(range(len(sources))),
        "text": [[f"{a} → {b}" for b in targets] for a in sources],
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
    }


def _label(name: str, labels: dict[str, str], length: int) -> str:
    return chart_text(labels.get(name, name), length)


def _sides(shown: PairMeans, labels: dict[str, str], length: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Targets across, sources down."""
    across, down = (
        {
            "tickvals": list(range(len(names))),
            "ticktext": [_label(name, labels, length) for name in names],
            "showgrid": False,
        }
        for names in (shown.targets, shown.sources)
    )
    return (
        {**across, "tickangle": -90, "title": {"text": "to"}},
        {**down, "autorange": "reversed", "title": {"text": "from"}},
    )


def _logarithmic(top: float) -> dict[str, Any]:
    """Of log(1 + flow), which takes a flow of nothing too."""
    ticks = np.linspace(0, top, 5)
    return {
        "cmin": 0,
        "cmax": round(top, 5),
        "colorscale": [[0, "--heat-0"], [0.5, "--heat-1"], [1, "--heat-2"]],
        "colorbar": {
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": numbers(ticks),
            "ticktext": [number(math.expm1(tick)) for tick in ticks],
        },
    }


def _heading(text: str, place: int) -> dict[str, Any]:
    more = str(place + 1) if place else ""
    at = {"xref": f"x{more} domain", "yref": f"y{more} domain", "x": 0, "y": 1.01}
    return {**at, "text": f"<b>{text}</b>", "xanchor": "left", "yanchor": "bottom", "showarrow": False}


def _cut(means: PairMeans) -> str:
    """What a heat map leaves out."""
    most = max(len(means.sources), len(means.targets))
    return f" Shown: the {MOST_SIDE} busiest of {most:,} zones." if most > MOST_SIDE else ""


def difference_figure(shown: PairMeans, labels: dict[str, str], *, of: PairMeans) -> Figure:
    off = shown.forecast - shown.real
    limit = float(f"{np.nanmax(np.abs(off), initial=0.0):.5g}") or 1.0
    x, y = _sides(shown, labels, 20)
    cells = {
        **_grid(shown, labels),
        "z": numbers(off),
        "zmin": -limit,
        "zmax": limit,
        "colorscale": [[0, "--minus"], [0.5, "--neither"], [1, "--plus"]],
        "hovertemplate": "%{text}: %{z:+,.3~g}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "nticks": 5, "tickformat": ".2~g"},
    }
    return Figure(
        name="flow-difference",
        alt="Mean forecast flow less mean real flow of each pair of zones",
        caption="How to read: blue is a flow that is forecast too high on average, orange one too low; a whole row or "
        f"column of one colour is a zone that the model sees as too busy or too quiet.{_cut(of)}",
        height=200 + 20 * len(shown.sources),
        traces=[cells],
        layout={"hovermode": "closest", "xaxis": x, "yaxis": y},
        narrow={"height": 440, "xaxis": TAP, "yaxis": {"showticklabels": False}},
    )


# ---------------------------------------------------------------- the map


def flow_error_map(top: list[Pair], places: dict[str, Place], labels: dict[str, str]) -> Figure:
    """`top`, the largest first, as arcs that are as wide as the larger of the real and the forecast flow."""
    arcs = [_pair_arc(pair, places, labels, pair.size / top[0].size) for pair in reversed(top)]
    ends = list(dict.fromkeys(end for pair in top for end in (pair.source, pair.target)))
    nodes = list(dict.fromkeys((*ends, *places)))[:MOST_DOTS]
    names = {node: labels.get(node, node) for node in nodes}
    spots = {
        **dots(nodes, places, named(nodes, ends[:MOST_NAMED], names)),
        "showlegend": False,
        "hovertext": [chart_text(names[node], 60) for node in nodes],
        "marker": {"color": "--ink", "size": 5, "opacity": 0.55},
    }
    found = [judgement for judgement in ARCS if any(pair.judgement == judgement for pair in top)]
    return Figure(
        name="flow-error-map",
        alt="The largest flows on a map, by whether the forecast is too high or too low",
        caption=f"How to read: north is up; each arc is one direction of the {len(top)} largest flows between two "
        "zones, from its start to the arrow, wider where more goes, real or forecast. The colour says how the mean "
        "forecast compares with the mean real flow. Traffic within a zone is not drawn.",
        height=600,
        traces=[*arcs, spots, *map(_legend_entry, found)],
        layout={**map_layout([places[node] for node in ends]), "showlegend": True, "legend": {"traceorder": "normal"}},
        narrow={"height": 440},
    )


def _pair_arc(pair: Pair, places: dict[str, Place], labels: dict[str, str], share: float) -> dict[str, Any]:
    colour, dash = ARCS[pair.judgement]
    drawn = arc(places[pair.source], places[pair.target], share, pair_text(pair, labels), line=colour, head=colour)
    solid = {**drawn["marker"], "opacity": 1}  # Plotly makes marks of several sizes translucent
    return {**drawn, "showlegend": False, "line": {**drawn["line"], "dash": dash}, "marker": solid}


def _legend_entry(judgement: str) -> dict[str, Any]:
    colour, dash = ARCS[judgement]
    line = {"color": colour, "width": 3, "dash": dash}
    return {"type": "scatter", "mode": "lines", "name": judgement, "x": [None], "y": [None], "line": line}


def pair_text(pair: Pair, labels: dict[str, str]) -> str:
    ends = f"{_label(pair.source, labels, 40)} → {_label(pair.target, labels, 40)}"
    return f"{ends}: real {number(pair.real)}, forecast {number(pair.forecast)}"


# ---------------------------------------------------------------- one against the other


def pairs_figure(found: list[Pair], labels: dict[str, str], model: str) -> Figure | None:
    """A dot for each pair on logarithmic axes, which have no place for 0; None where no pair has both."""
    both = [pair for pair in found if pair.real > 0 and pair.forecast > 0]
    if not both:
        return None
    top = both[:MOST_PAIRS]
    ends = min(min(p.real, p.forecast) for p in top) / 1.3, top[0].size * 1.3
    reach = [round(math.log10(end), 4) for end in ends]
    decades = {"dtick": 1} if reach[1] - reach[0] > 1.5 else {"nticks": 6}
    axis = {"type": "log", "range": reach, "tickformat": ",~g", **decades}
    none = len(found) - len(both)
    left_out = [
        f" Shown: the {MOST_PAIRS:,} largest of {len(both):,} pairs." if len(both) > MOST_PAIRS else "",
        f" Not shown: {none:,} with a real or forecast flow of nothing." if none else "",
    ]
    return Figure(
        name="flow-pairs",
        alt="Mean forecast flow against mean real flow, a dot for each pair of zones",
        caption="How to read: on the line the mean forecast is the mean real flow; above it the forecast is too high, "
        f"below it too low. The axes are logarithmic.{''.join(left_out)}",
        height=480,
        traces=[_dots_of(top, labels, model)],
        layout={
            "xaxis": {**axis, "title": {"text": "real flow"}},
            "yaxis": {**axis, "title": {"text": "forecast flow"}},
            "shapes": [_equal(ends)],
            "showlegend": False,
        },
        narrow={"height": 380},
    )


def _dots_of(top: list[Pair], labels: dict[str, str], model: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": chart_text(model),
        "x": numbers([pair.real for pair in top]),
        "y": numbers([pair.forecast for pair in top]),
        "marker": {"color": "--ours", "size": 6, "opacity": 0.55},
        "hovertext": [pair_text(pair, labels) for pair in top],
        "hoverinfo": "text",
    }


def _equal(ends: tuple[float, float]) -> dict[str, Any]:
    """Where both are equal."""
    low, high = numbers(ends)
    line = {"type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "layer": "below"}
    return {**line, "line": {"color": "--ink", "width": 1}}
