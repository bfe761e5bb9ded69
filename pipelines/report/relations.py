"""What moves what: the relations that a network with a learned graph made of its variables.

An arrow goes from the variable that is read to the one that takes of it. All strengths are `through`, both layers one
after the other at the best epoch; what a variable takes of itself is no relation.
"""

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from models.regenn import Relation, strongest_relations
from pipelines.report.figures import DASHES, MOST_POINTS, Figure, epoch_mark, numbers, thinned
from pipelines.report.words import chart_text, signed
from pipelines.results import Explanation

MOST_ROWS = 10
MOST_ARROWS = 15
MOST_LINES = 5
MOST_SIDE = 40  # of the heat map
NARROW_SIDE = 15  # of the heat map on a phone
CURVE = 21  # points of an arrow
INWARD, BEND = 0.3, 0.15  # towards the middle of the circle, and to the right: there and back are two arrows
ROOM = 1.15  # the circle's radius is 1
SIGNS = {"positive": "--plus", "negative": "--minus"}
BARE = {"showgrid": False, "zeroline": False, "showline": False, "showticklabels": False, "ticks": ""}


@dataclass(frozen=True)
class Row:
    """A line of the table, as it is written."""

    variable: str
    takes_of: str
    source: str
    target: str
    through: str


def between(explanation: Explanation) -> np.ndarray:
    """`through` with NaN on the diagonal, [V, V]."""
    return np.where(np.eye(len(explanation.variables), dtype=bool), np.nan, explanation.through)


def strongest(explanation: Explanation, count: int) -> list[Relation]:
    """The `count` strongest relations, the strongest first; fewer where the network made fewer."""
    ranked = strongest_relations(torch.from_numpy(explanation.through), count)
    return [relation for relation in ranked if relation.weight != 0]


def relation_rows(explanation: Explanation) -> list[Row]:
    pairs, best = strongest(explanation, MOST_ROWS), explanation.best_epoch
    source, target = (
        signed([float(layer[best, pair.variable, pair.reads]) for pair in pairs])
        for layer in (explanation.source, explanation.target)
    )
    through = signed([pair.weight for pair in pairs])
    names = [(explanation.variables[pair.variable], explanation.variables[pair.reads]) for pair in pairs]
    return [Row(*each, *cells) for each, *cells in zip(names, source, target, through, strict=True)]


def relation_figures(explanation: Explanation) -> list[Figure]:
    """The heat map; the graph and the course of training where there is a relation to draw."""
    drawn = [relation_matrix(explanation)]
    if strongest(explanation, 1):
        drawn += [relation_graph(explanation), settling_figure(explanation)]
    return drawn


def relation_matrix(explanation: Explanation) -> Figure:
    """Takers down, what they read across, those with the strongest relations first."""
    shown = _strongest_variables(between(explanation))
    grid = between(explanation)[np.ix_(shown, shown)]
    names = [explanation.variables[v] for v in shown]
    limit = _largest(grid)
    cells = {
        "type": "heatmap",
        "x": list(range(len(shown))),
        "y": list(range(len(shown))),
        "z": numbers(grid),
        "zmin": -limit,
        "zmax": limit,
        "colorscale": [[0, "--minus"], [0.5, "--neither"], [1, "--plus"]],
        "text": [[_arrow_text(read, taker, 40) for read in names] for taker in names],
        "hovertemplate": "%{text}: %{z:+.3~g}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "nticks": 5, "tickformat": ".2~g"},
    }
    few = min(len(shown), NARROW_SIDE)
    return Figure(
        name="relations",
        alt="How much each variable takes of each other one",
        caption="How to read: a row takes of a column, through both layers; the stronger a cell's colour, the more "
        "the forecast of the row leans on the column. Blue is positive and orange negative, but the sign has no plain "
        "meaning: what the network does between the two layers may turn it round. The diagonal is left "
        f"empty.{_left_out(len(explanation.variables))}",
        height=190 + max(15 * len(shown), 130),
        traces=[cells],
        layout={"hovermode": "closest", **_matrix_axes(names, len(shown), 22)},
        narrow={"height": 190 + max(17 * few, 130), **_matrix_axes(names, few, 12)},
    )


def _strongest_variables(weights: np.ndarray) -> list[int]:
    """At most MOST_SIDE of them, by the strongest relation that each takes part in."""
    strength = np.nan_to_num(np.abs(weights), nan=0.0, posinf=0.0)
    order = np.argsort(-np.maximum(strength.max(axis=0), strength.max(axis=1)), kind="stable")
    return [int(v) for v in order[:MOST_SIDE]]


def _largest(weights: np.ndarray) -> float:
    sizes = np.abs(weights[np.isfinite(weights)])
    return float(f"{sizes.max(initial=0.0):.5g}") or 1.0


def _left_out(variables: int) -> str:
    cut = (
        f" Shown: the {MOST_SIDE} of {variables:,} variables with the strongest relations."
        if (variables > MOST_SIDE)
        else ""
    )
    return f"{cut} A phone shows the {NARROW_SIDE} strongest." if variables > NARROW_SIDE else cut


def _matrix_axes(names: list[str], shown: int, length: int) -> dict[str, Any]:
    """Both axes with the first `shown` names, of `length` characters at most."""
    ticks = {
        "tickvals": list(range(shown)),
        "ticktext": [chart_text(name, length) for name in names[:shown]],
        "showgrid": False,
    }
    across = {**ticks, "range": [-0.5, shown - 0.5], "autotickangles": [0, -90], "title": {"text": "is taken of"}}
    return {"xaxis": across, "yaxis": {**ticks, "range": [shown - 0.5, -0.5], "title": {"text": "takes"}}}


def relation_graph(explanation: Explanation) -> Figure:
    """The variables of the strongest relations around a circle, an arrow for each relation."""
    pairs = strongest(explanation, MOST_ARROWS)
    members = list(dict.fromkeys(v for pair in pairs for v in (pair.variable, pair.reads)))
    places = dict(zip(members, _around(len(members)), strict=True))
    arrows = [_arrow(pair, places, explanation.variables, abs(pair.weight / pairs[0].weight)) for pair in pairs]
    signs = sorted({_sign(pair) for pair in pairs})
    names = {v: explanation.variables[v] for v in members}
    height = 260 + 24 * math.ceil(len(members) / 2)
    which = f"the {len(pairs)} strongest relations" if len(pairs) > 1 else "the only relation"
    return Figure(
        name="relation-graph",
        alt="The strongest relations between variables, as arrows",
        caption=f"How to read: drawn are {which}; an arrow starts at the variable that is read and ends at the one "
        "that takes of it, wider where more is taken. A relation is what this network uses to forecast, not a cause: "
        "another network may do as well with others. The colour is the sign, which has no plain meaning.",
        height=height,
        traces=[*reversed(arrows), _dots(places, names), *map(_legend_entry, signs)],
        layout={
            "margin": {"l": 0, "r": 0, "b": 0},
            "xaxis": {**BARE, "range": _wide(1000 * ROOM / height)},  # round on a page of 1,000 pixels
            "yaxis": {**BARE, "range": _wide(ROOM)},
            "annotations": [_name(places[v], chart_text(name, 30)) for v, name in names.items()],
        },
        narrow={
            "xaxis": {"range": _wide(2.0)},
            "annotations": [_name(places[v], _folded(name)) for v, name in names.items()],
        },
    )


def _around(count: int) -> list[tuple[float, float]]:
    """Places on a circle, right and left in turn, each side at even heights: so no name covers another."""
    places = []
    for i in range(count):
        side = 1 if i % 2 == 0 else -1
        of_side = math.ceil(count / 2) if side == 1 else count // 2
        height = 0.9 * (1 - 2 * (i // 2) / (of_side - 1)) if of_side > 1 else 0.0
        places.append((side * math.sqrt(1 - height**2), height))
    return places


def _arrow(
    pair: Relation, places: dict[int, tuple[float, float]], names: tuple[str, ...], share: float
) -> dict[str, Any]:
    """A curve bent inwards, with its head at the taker. `share` is its strength as a share of the strongest."""
    t = np.linspace(0, 1, CURVE)[:, None]
    a, b = np.array(places[pair.reads]), np.array(places[pair.variable])
    bend = INWARD * (a + b) / 2 + BEND * np.array([b[1] - a[1], a[0] - b[0]])
    curve = (1 - t) ** 2 * a + 2 * (1 - t) * t * bend + t**2 * b
    colour = SIGNS[_sign(pair)]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "legendgroup": _sign(pair),
        "showlegend": False,
        "x": numbers(curve[:, 0]),
        "y": numbers(curve[:, 1]),
        "line": {"color": colour, "width": round(1 + 5 * share, 2)},
        "marker": {
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0] * (CURVE - 1) + [round(11 + 7 * share, 2)],
            "opacity": 1,  # Plotly makes marks of several sizes translucent
            "standoff": [0] * (CURVE - 1) + [5],
            "color": colour,
        },
        "text": f"{_arrow_text(names[pair.reads], names[pair.variable], 40)}: {signed([pair.weight])[0]}",
        "hoverinfo": "text",
    }


def _sign(pair: Relation) -> str:
    return "positive" if pair.weight > 0 else "negative"


def _legend_entry(sign: str) -> dict[str, Any]:
    """A line that is only in the legend, where those of the arrows would be of any width."""
    line = {"color": SIGNS[sign], "width": 3}
    return {
        "type": "scatter",
        "mode": "lines",
        "name": sign,
        "legendgroup": sign,
        "x": [None],
        "y": [None],
        "line": line,
    }


def _arrow_text(read: str, taker: str, length: int) -> str:
    return f"{chart_text(read, length)} → {chart_text(taker, length)}"


def _dots(places: dict[int, tuple[float, float]], names: dict[int, str]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "showlegend": False,
        "x": numbers([x for x, _ in places.values()]),
        "y": numbers([y for _, y in places.values()]),
        "marker": {"color": "--ink", "size": 8},
        "hovertext": [chart_text(name, 60) for name in names.values()],
        "hoverinfo": "text",
    }


def _wide(half: float) -> list[float]:
    return [-round(half, 3), round(half, 3)]


def _name(place: tuple[float, float], text: str) -> dict[str, Any]:
    """Outside the circle, beside its dot."""
    x, y = place
    anchor = (
        {"xanchor": "left", "xshift": 9, "align": "left"}
        if x > 0
        else {"xanchor": "right", "xshift": -9, "align": "right"}
    )
    return {"x": round(x, 5), "y": round(y, 5), "yanchor": "middle", "text": text, "showarrow": False, **anchor}


def _folded(name: str) -> str:
    """In two short lines, for a phone."""
    name = " ".join(name.split())
    first = next(iter(textwrap.wrap(name, 12)), "")
    rest = name.removeprefix(first).strip()
    return f"{chart_text(first)}<br>{chart_text(rest, 12)}" if rest else chart_text(first)


def settling_figure(explanation: Explanation) -> Figure:
    """The course of the strongest relations over the epochs."""
    pairs, total = strongest(explanation, MOST_LINES), len(explanation.source)
    keep = thinned(total, MOST_POINTS)
    lines = [_course_line(explanation, pair, place, keep) for place, pair in enumerate(pairs)]
    return Figure(
        name="settling",
        alt="The strongest relations by epoch",
        caption="How to read: each line is one of the strongest relations, epoch by epoch; a line that has become "
        "level has settled. One that still moves at the marked epoch, whose weights the model has, is a relation to "
        "trust less. Below zero it is negative, which has no plain meaning, nor has a change of sign on the way.",
        height=380,
        traces=list(reversed(lines)),
        layout={
            "xaxis": {"title": {"text": "epoch"}, "showgrid": False, **({"dtick": 1} if total < 10 else {})},
            "yaxis": {"title": {"text": "through both layers"}, "zeroline": True, "zerolinecolor": "--faint"},
            "showlegend": True,
            **epoch_mark(explanation.best_epoch + 1, total),
        },
        narrow={"height": 460},
    )


def _course_line(explanation: Explanation, pair: Relation, place: int, keep: np.ndarray) -> dict[str, Any]:
    course = explanation.course(pair.variable, pair.reads)[keep]
    names = explanation.variables
    ours = {"color": "--ours", "width": 3}
    other = {"color": f"--line-{place}", "width": 2, "dash": DASHES[place]}
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(keep) < 60 else "lines",
        "name": _arrow_text(names[pair.reads], names[pair.variable], 18),
        "x": (keep + 1).tolist(),
        "y": numbers(course),
        "line": ours if place == 0 else other,
        "marker": {"size": 5},
        "hovertemplate": "epoch %{x}: %{y:+.3~g}",
    }
