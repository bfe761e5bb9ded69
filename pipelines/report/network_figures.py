"""Charts of a network over time: its course, the drift of its degrees and weights, and its strongest edges drawn."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from data.splits import Ranges
from pipelines.report.figures import MOST_POINTS, Figure, numbers, stamps, thinned
from pipelines.report.maps import Place, arc, dots, link_text, map_layout, named
from pipelines.report.network import MEASURES, NetworkCourse, at_least
from pipelines.report.words import chart_text

MOST_DRAWN = 30  # edges of each moment
MOST_NAMED = 3  # nodes of each moment
LINE = 0.1  # height of a line of names, as a share of the picture's
FEW_DAYS = 4
APART = 0.02  # between two panels, as a share of the chart
GAP = 0.2  # between two rows, as a share of a row
WIDE_SPREAD = 20  # largest over smallest: from here on the axis is logarithmic
STYLES = {
    "training": {"color": "--line-4", "width": 2},
    "validation": {"color": "--rival", "width": 2},
    "test": {"color": "--ours", "width": 2.25},
}
DRIFT_STYLES = {"training": {**STYLES["training"], "dash": "dash"}, "test": {"color": "--ours", "width": 2.75}}
AXES = {"degree": "degree: edges of a node in a step", "strength": "strength: weight of a node's edges in a step"}
ROWS = [  # column, how it is thinned, title
    ("nodes", "mean", "nodes"),
    ("edges", "mean", "edges"),
    ("weight", "mean", "weight"),
    ("mean_degree", "mean", "mean degree"),
    ("largest_degree", "max", "largest degree"),
]


@dataclass(frozen=True)
class Moment:
    """A stretch of steps, and what its strongest edges carried in a step on average."""

    title: str
    span: str  # from when to when, in words
    edges: pl.DataFrame  # source, target, weight; the strongest first


def network_figures(
    course: NetworkCourse, edges: pl.DataFrame, ranges: Ranges, places: dict[str, Place], labels: dict[str, str]
) -> list[Figure]:
    """The course; the drift where training and test have edges; the network drawn where two nodes are linked."""
    drawn = [course_figure(course, ranges)]
    if has_drift(course, ranges):
        drawn.append(drift_figure(course, ranges))
    found = moments(edges, course.clock, places)
    if found:
        drawn.append(moments_figure(found, places, labels))
    return drawn


def has_drift(course: NetworkCourse, ranges: Ranges) -> bool:
    """Whether there are nodes with edges in both training and test."""
    return all(len(course.within("degree", *steps_of(ranges)[name])) for name in DRIFT_STYLES)


def steps_of(ranges: Ranges) -> dict[str, tuple[int, int]]:
    """Name of each range -> its steps `[first, last)`."""
    bounds = 0, ranges.train_end, ranges.validation_end, ranges.end
    return dict(zip(STYLES, pairwise(bounds), strict=True))


# ---------------------------------------------------------------- the course


def course_figure(course: NetworkCourse, ranges: Ranges) -> Figure:
    """Nodes, edges, weight and degree below each other, on one time axis."""
    parts = {name: stretches(course, *bounds) for name, bounds in steps_of(ranges).items()}
    lines = [_course_line(row, name, part) for row in range(len(ROWS)) for name, part in parts.items()]
    longest = max(int(part["length"].max()) for part in parts.values())  # type: ignore[arg-type]
    mean = f" A point is the mean of up to {longest} steps, and the largest degree is that of all of them."
    return Figure(
        name="network",
        alt="Nodes with an edge, edges, total weight and degree of the network over time",
        caption="How to read: from above, the nodes that have an edge, the edges (pairs between which something "
        "moved), what they weigh together, and how many edges such a node has, on average and at most. A model learns "
        f"from the training range; what looks different in the test range is new to it.{mean if longest > 1 else ''}",
        height=700,
        traces=lines,
        layout={
            "xaxis": {"showgrid": False, "anchor": f"y{len(ROWS)}"},
            **stacked([title for _, _, title in ROWS]),
            "shapes": [boundary(times(course.clock, [step])[0]) for step in (ranges.train_end, ranges.validation_end)],
            "legend": {"traceorder": "normal"},
        },
        narrow={"height": 720, "xaxis": {"nticks": 4}},
    )


def stretches(course: NetworkCourse, first: int, last: int) -> pl.DataFrame:
    """The steps `[first, last)`, at most as many rows as the range may have points: time, length, then the measures."""
    most = math.ceil(MOST_POINTS * (last - first) / len(course.clock)) + 1
    bounds = first + thinned(last - first + 1, most + 1)
    part = course.steps[first:last].with_columns(stretch=np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)))
    found = part.group_by("stretch", maintain_order=True).agg(
        pl.len().alias("length"),
        *(pl.col(name).max() if of == "max" else pl.col(name).mean() for name, of, _ in ROWS),
    )
    return found.with_columns(time=pl.Series(times(course.clock, bounds[:-1])))


def times(clock: pd.Index, steps: Any) -> list[Any]:
    found = clock[list(steps)]
    return stamps(found) if isinstance(found, pd.DatetimeIndex) else found.tolist()


def _course_line(row: int, name: str, part: pl.DataFrame) -> dict[str, Any]:
    """That of one range in one row; the first row speaks for all in the legend."""
    column, _, title = ROWS[row]
    return {
        "type": "scatter",
        "mode": "lines" if len(part) > 2 else "lines+markers",
        "name": name,
        "legendgroup": name,
        "showlegend": row == 0,
        "x": part["time"].to_list(),
        "y": numbers(part[column]),
        "yaxis": axis("y", row),
        "line": STYLES[name],
        "hovertemplate": f"%{{x}}: %{{y:,.4~g}} ({title})<extra>{name}</extra>",
    }


def axis(letter: str, place: int) -> str:
    """Plotly's name of the axis in this place, counted from 0: x, x2, x3."""
    return letter if place == 0 else f"{letter}{place + 1}"


def stacked(titles: list[str]) -> dict[str, Any]:
    """A vertical axis for each row, the first on top."""
    row = 1 / (len(titles) + GAP * (len(titles) - 1))
    axes = {}
    for place, title in enumerate(titles):
        bottom = row * (1 + GAP) * (len(titles) - 1 - place)
        domain = [round(bottom, 4), round(bottom + row, 4)]
        axes[axis("yaxis", place)] = {"domain": domain, "title": {"text": title}, "rangemode": "tozero", "nticks": 4}
    return axes


def boundary(time: Any) -> dict[str, Any]:
    line = {"type": "line", "x0": time, "x1": time, "yref": "paper", "y0": 0, "y1": 1}
    return {**line, "line": {"color": "--faint", "width": 1, "dash": "dash"}}


# ---------------------------------------------------------------- the drift


def drift_figure(course: NetworkCourse, ranges: Ranges) -> Figure:
    """Degree on the left and strength on the right; below each other on a phone."""
    found = {
        measure: {name: course.within(measure, *steps_of(ranges)[name]) for name in DRIFT_STYLES}
        for measure in MEASURES
    }
    lines = [
        _share_line(name, values, place)
        for place, measure in enumerate(MEASURES)
        for name, values in found[measure].items()
    ]
    share = {"tickformat": ".0%", "range": [0, 1.02], "title": {"text": "share of nodes"}}
    return Figure(
        name="network-drift",
        alt="Distribution of degree and strength in training and in test",
        caption="How to read: a line gives the share of nodes whose degree (or strength) is at least that large, over "
        "all steps of the range. Where the lines cover each other the network is as it was in training; where test "
        "lies above, larger values have become more frequent. Nodes without an edge are not counted.",
        height=360,
        traces=lines,
        layout={
            "xaxis": {**_measure_axis("degree", found["degree"]), "domain": [0, 0.46]},
            "yaxis": {**share},
            "xaxis2": {**_measure_axis("strength", found["strength"]), "domain": [0.56, 1], "anchor": "y2"},
            "yaxis2": {**share, "anchor": "x2"},
            "legend": {"traceorder": "normal"},
        },
        narrow={
            "height": 620,
            "xaxis": {"domain": [0, 1]},
            "yaxis": {"domain": [0.6, 1]},
            "xaxis2": {"domain": [0, 1]},
            "yaxis2": {"domain": [0, 0.4]},
        },
    )


def _share_line(name: str, values: np.ndarray, place: int) -> dict[str, Any]:
    distinct, share = at_least(values)
    keep = thinned(len(distinct), MOST_POINTS)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "showlegend": place == 0,
        "x": numbers([*distinct[keep], distinct[-1]]),
        "y": numbers([*share[keep], 0.0]),
        "xaxis": axis("x", place),
        "yaxis": axis("y", place),
        "line": {**DRIFT_STYLES[name], "shape": "vh"},  # the share falls just after a value
        "hovertemplate": "%{y:.1%} have %{x:,.4~g} or more",
    }


def _measure_axis(measure: str, found: dict[str, np.ndarray]) -> dict[str, Any]:
    least, most = min(v[0] for v in found.values()), max(v[-1] for v in found.values())
    spread = {"type": "log", "dtick": 1, "tickformat": "~g"} if most > WIDE_SPREAD * least else {"rangemode": "tozero"}
    return {"title": {"text": AXES[measure]}, "showgrid": False, **spread}


# ---------------------------------------------------------------- the network drawn


def moments(edges: pl.DataFrame, clock: pd.Index, places: dict[str, Place]) -> list[Moment]:
    """The first quarter of the steps, as long a stretch in the middle, and the last; those that have edges.

    Drawn are edges between two nodes, and only those between placed ones where there are any.
    """
    linked = edges.filter(pl.col("source") != pl.col("target"))
    placed = linked.filter(pl.col("source").is_in(list(places)) & pl.col("target").is_in(list(places)))
    drawn = placed if len(placed) else linked
    steps, quarter = len(clock), max(1, len(clock) // 4)
    starts = {"First quarter": 0, "Middle": (steps - quarter) // 2, "Last quarter": steps - quarter}
    found = [
        Moment(title, span(clock[first : first + quarter]), _strongest(drawn, first, first + quarter))
        for title, first in starts.items()
    ]
    return [moment for moment in found if len(moment.edges)]


def span(clock: pd.Index) -> str:
    """The first and last step: the days, or the times where it is only a few days."""
    if not isinstance(clock, pd.DatetimeIndex):
        return f"step {clock[0]} to {clock[-1]}"
    short = clock[-1] - clock[0] < pd.Timedelta(days=FEW_DAYS)
    ends = [end.strftime("%-d %b, %H:%M" if short else "%-d %b %Y") for end in (clock[0], clock[-1])]
    return " to ".join(dict.fromkeys(ends))


def _strongest(edges: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    totals = (
        edges.lazy()
        .filter(pl.col("step").is_between(first, last, closed="left"))
        .group_by("source", "target")
        .agg(pl.col("weight").sum() / (last - first))
    )
    order = ["weight", "source", "target"]
    return totals.sort(order, descending=[True, False, False]).head(MOST_DRAWN).collect()


def moments_figure(found: list[Moment], places: dict[str, Place], labels: dict[str, str]) -> Figure:
    """A panel for each moment, side by side or, on a phone, below each other; all with the same nodes and scale."""
    ends = pl.concat([moment.edges.select(node=end) for moment in found for end in ("source", "target")])
    members = ends["node"].unique().sort().to_list()
    on_a_map = set(members) <= set(places)
    at = {node: places[node] for node in members} if on_a_map else _circle(members)
    heaviest = max(float(moment.edges["weight"][0]) for moment in found)
    where = "north is up" if on_a_map else "the nodes are around a circle, for want of coordinates"
    return Figure(
        name="network-moments",
        alt=f"The strongest edges of the network in {len(found)} stretches of time, drawn",
        caption=f"How to read: {where}; drawn are the strongest edges of each stretch, {MOST_DRAWN} at most, from "
        "their start to the arrow, wider where more moved in a step on average. All panels have the same places and "
        "the same scale, so what differs has changed.",
        height=420,
        traces=[trace for i, moment in enumerate(found) for trace in _drawn(moment, i, at, heaviest, labels)],
        layout={
            **panels(list(at.values()), len(found)),
            "annotations": [panel_title(moment.title, moment.span, i) for i, moment in enumerate(found)],
            "showlegend": False,
        },
        narrow={"height": 330 * len(found), **below_each_other(len(found))},
    )


def panels(places: list[Place], count: int) -> dict[str, Any]:
    """`count` maps with all of `places` in sight, side by side."""
    layout = map_layout(places)
    across, upwards = layout.pop("xaxis"), layout.pop("yaxis")
    width = (1 - APART * (count - 1)) / count
    for i in range(count):
        x, y, left = axis("x", i), axis("y", i), i * (width + APART)
        domain = [round(left, 4), round(left + width, 4)]
        layout[axis("xaxis", i)] = {**across, "domain": domain, "anchor": y}
        layout[axis("yaxis", i)] = {**upwards, "domain": [0, 0.88], "anchor": x, "scaleanchor": x}
    return layout


def below_each_other(count: int) -> dict[str, Any]:
    rows = [(1 - (i + 1) / count, 1 - i / count - 0.14 / count) for i in range(count)]
    across = {axis("xaxis", i): {"domain": [0, 1]} for i in range(count)}
    return {**across, **{axis("yaxis", i): {"domain": [round(y, 4) for y in row]} for i, row in enumerate(rows)}}


def panel_title(title: str, when: str, panel: int) -> dict[str, Any]:
    above = {"xref": f"{axis('x', panel)} domain", "yref": f"{axis('y', panel)} domain", "x": 0, "y": 1.02}
    text = f"<b>{title}</b><br>{when}"
    return {**above, "text": text, "align": "left", "xanchor": "left", "yanchor": "bottom", "showarrow": False}


def _circle(nodes: list[str]) -> dict[str, Place]:
    """Around a circle of one degree on the equator, where a degree is as long across as upwards."""
    angles = [2 * math.pi * i / len(nodes) for i in range(len(nodes))]
    return {node: (math.cos(angle), math.sin(angle)) for node, angle in zip(nodes, angles, strict=True)}


def _drawn(
    moment: Moment, panel: int, at: dict[str, Place], heaviest: float, labels: dict[str, str]
) -> list[dict[str, Any]]:
    edges = list(moment.edges.iter_rows())
    arcs = [arc(at[a], at[b], weight / heaviest, link_text(a, b, weight, labels)) for a, b, weight in reversed(edges)]
    busy = list(dict.fromkeys(node for a, b, _ in edges for node in (a, b)))
    middle = (min(x for _, x in at.values()) + max(x for _, x in at.values())) / 2
    names = {node: labels.get(node, node) for node in at}
    nodes = {
        **dots(list(at), at, named(list(at), _legible(busy, at), names)),
        "textposition": ["middle right" if x < middle else "middle left" for _, x in at.values()],
        "hovertext": [chart_text(names[node], 60) for node in at],
        "marker": {"color": "--ink", "size": 5, "opacity": 0.55},
    }
    return [{**trace, "xaxis": axis("x", panel), "yaxis": axis("y", panel)} for trace in (*arcs, nodes)]


def _legible(busy: list[str], at: dict[str, Place]) -> list[str]:
    """The first of `busy` whose names are on lines of their own."""
    heights = [y for y, _ in at.values()]
    line = LINE * (max(heights) - min(heights))
    chosen: list[str] = []
    for node in busy:
        if len(chosen) < MOST_NAMED and all(abs(at[node][0] - at[other][0]) >= line for other in chosen):
            chosen.append(node)
    return chosen
