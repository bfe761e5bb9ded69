"""Where things are: the error on a map, the flows on a map or, without coordinates, in a matrix.

No tiles, so no network: longitude and latitude with the right aspect, and the nodes themselves draw the city.
"""

import math
from typing import Any

import numpy as np
import polars as pl

from data.panel import Panel
from pipelines.report.comparison import Comparison, error_by_node
from pipelines.report.figures import Figure, numbers
from pipelines.report.words import chart_text, model_title, number
from pipelines.results import Backtest

MOST_LINKS = 50
MOST_NAMES = 6
ARC = 25  # points of an arc
MOST_DOTS = 400
MATRIX_SIDE = 30
BEND = 0.14  # of the distance: there and back are two lines

Place = tuple[float, float]  # latitude, longitude


def coordinates(panel: Panel) -> dict[str, Place]:
    """The nodes that have coordinates; none where fewer than two have, because that is no map."""
    if not {"latitude", "longitude"} <= set(panel.static.columns):
        return {}
    known = panel.static.drop_nulls(["latitude", "longitude"])
    rows = known.select("node", "latitude", "longitude").iter_rows()
    found = {
        str(node): (float(lat), float(lon)) for node, lat, lon in rows if math.isfinite(lat) and math.isfinite(lon)
    }
    return found if len(found) > 1 else {}


def error_map(
    backtest: Backtest, comparison: Comparison, places: dict[str, Place], labels: dict[str, str]
) -> Figure | None:
    """A dot per node, its area the error; two looks, for better and worse than the best yardstick."""
    errors = dict(zip(backtest.nodes, error_by_node(backtest, backtest.model), strict=True))
    rivals = dict(zip(backtest.nodes, error_by_node(backtest, comparison.rival or backtest.model), strict=True))
    nodes = sorted((n for n in backtest.nodes if n in places and errors[n] >= 0), key=lambda n: -errors[n])[:MOST_DOTS]
    if len(nodes) < 2:
        return None
    largest = errors[nodes[0]] or 1.0
    groups = (
        {
            model_title(backtest.model): (nodes, "--ours", "circle"),
        }
        if comparison.rival is None
        else {
            "no worse than the best yardstick": ([n for n in nodes if errors[n] <= rivals[n]], "--ours", "circle"),
            "worse than the best yardstick": ([n for n in nodes if errors[n] > rivals[n]], "--bad", "diamond"),
        }
    )
    traces = [
        {
            **dots(group, places, named(group, nodes, labels)),
            "name": name,
            "hovertext": [
                f"{chart_text(labels[n], 60)}: {number(errors[n])} (yardstick {number(rivals[n])})" for n in group
            ],
            "marker": {
                "color": colour,
                "symbol": symbol,
                "opacity": 0.8,
                "size": numbers([6 + 24 * math.sqrt(errors[n] / largest) for n in group]),
                "line": {"color": "--paper", "width": 1},
            },
        }
        for name, (group, colour, symbol) in groups.items()
        if group
    ]
    rival = (
        f" Diamonds are nodes where {model_title(comparison.rival)} would have been closer." if comparison.rival else ""
    )
    return Figure(
        name="error-map",
        alt="Mean absolute error at each node, on a map",
        caption=f"How to read: north is up; the larger a dot, the larger the mean absolute error there.{rival}",
        height=500,
        traces=traces,
        layout={**map_layout([places[n] for n in nodes]), "showlegend": True},
        narrow={"height": 380},
    )


def link_totals(flows: pl.DataFrame) -> pl.DataFrame:
    """source, target, weight: summed over time, the heaviest first."""
    totals = flows.group_by("source", "target").agg(pl.col("weight").sum().cast(pl.Float64))
    return totals.filter(pl.col("weight") > 0).sort(["weight", "source", "target"], descending=[True, False, False])


def flow_figure(links: pl.DataFrame, places: dict[str, Place], labels: dict[str, str]) -> Figure:
    """The flow map when it can be drawn, else the matrix."""
    on_the_map = links.filter(
        pl.col("source").is_in(list(places))
        & pl.col("target").is_in(list(places))
        & (pl.col("source") != pl.col("target"))
    )
    return flow_map(on_the_map, places, labels) if len(on_the_map) else flow_matrix(links, labels)


def flow_map(links: pl.DataFrame, places: dict[str, Place], labels: dict[str, str]) -> Figure:
    top = list(links.head(MOST_LINKS).iter_rows())
    heaviest = top[0][2]
    arcs = [
        arc(places[a], places[b], weight / heaviest, link_text(a, b, weight, labels)) for a, b, weight in reversed(top)
    ]
    nodes = list(places)[:MOST_DOTS]
    spots = {
        **dots(nodes, places, named(nodes, _busy_ends(links), labels)),
        "hovertext": [chart_text(labels[n], 60) for n in nodes],
        "marker": {"color": "--ink", "size": 5, "opacity": 0.55},
    }
    return Figure(
        name="flows",
        alt="The heaviest flows between nodes, on a map",
        caption=f"How to read: north is up; each arc is one direction of the {len(top)} heaviest links, from its start "
        "to the arrow, wider where more goes. Traffic within a node is not drawn.",
        height=600,
        traces=[*arcs, spots],
        layout={**map_layout([places[n] for link in top for n in link[:2]]), "showlegend": False},
        narrow={"height": 400},
    )


def arc(
    start: Place, end: Place, share: float, text: str, *, line: str = "--flow", head: str = "--ours"
) -> dict[str, Any]:
    """A curve bent to the right of its direction, with an arrow at its end; `share` is of the widest one."""
    t = np.linspace(0, 1, ARC)[:, None]
    a, b = np.array(start), np.array(end)
    scale = math.cos(math.radians(start[0]))  # a degree of longitude is shorter than one of latitude
    north, east = b[0] - a[0], (b[1] - a[1]) * scale
    bend = (a + b) / 2 + BEND * 2 * np.array([-east, north / scale])
    curve = (1 - t) ** 2 * a + 2 * (1 - t) * t * bend + t**2 * b
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": curve[:, 1].round(6).tolist(),
        "y": curve[:, 0].round(6).tolist(),
        "line": {"color": line, "width": round(0.8 + 8 * share, 2)},
        "marker": {
            "symbol": "arrow",
            "angleref": "previous",
            "size": [0] * (ARC - 1) + [9 + 9 * share],
            "color": head,
        },
        "text": text,
        "hoverinfo": "text",
    }


def link_text(source: str, target: str, weight: float, labels: dict[str, str]) -> str:
    ends = [chart_text(labels.get(node, node), 40) for node in (source, target)]
    return f"{ends[0]} → {ends[1]}: {number(weight)}"


def dots(nodes: list[str], places: dict[str, Place], names: list[str]) -> dict[str, Any]:
    position = {"x": [round(places[n][1], 6) for n in nodes], "y": [round(places[n][0], 6) for n in nodes]}
    words = {"mode": "markers+text", "text": names, "textposition": "middle right", "hoverinfo": "text"}
    return {"type": "scatter", **words, **position}


def named(nodes: list[str], ranking: list[str], labels: dict[str, str]) -> list[str]:
    """The names of the first few of the ranking, so that a reader knows where they are; nothing for the others."""
    first = set(ranking[:MOST_NAMES])
    return [chart_text(labels[n], 22) if n in first else "" for n in nodes]


def _busy_ends(links: pl.DataFrame) -> list[str]:
    ends = pl.concat([links.select("weight", node=end) for end in ("source", "target")])
    busy = ends.group_by("node").agg(pl.col("weight").sum()).sort(["weight", "node"], descending=[True, False])
    return [str(node) for node in busy["node"]]


def map_layout(places: list[Place]) -> dict[str, Any]:
    """All of `places` in sight, north up, a kilometre as long across as upwards."""
    (south, west), (north, east) = np.min(places, axis=0).tolist(), np.max(places, axis=0).tolist()
    scale = 1 / max(math.cos(math.radians((south + north) / 2)), 0.05)
    margin = 0.08 * max(north - south, (east - west) / scale)
    bare = {"showgrid": False, "zeroline": False, "showline": False, "showticklabels": False, "ticks": ""}
    return {
        "hovermode": "closest",
        "plot_bgcolor": "--map",
        "margin": {"l": 0, "r": 0, "b": 0},
        "xaxis": {**bare, "range": [round(west - margin * scale, 6), round(east + margin * scale, 6)]},
        "yaxis": {
            **bare,
            "range": [round(south - margin, 6), round(north + margin, 6)],
            "scaleanchor": "x",
            "scaleratio": scale,
        },
    }


def flow_matrix(links: pl.DataFrame, labels: dict[str, str]) -> Figure:
    """Origins down, destinations across, the busiest of both; the colour is logarithmic, as flows are."""
    sources, targets = _heaviest(links, "source"), _heaviest(links, "target")
    weights = {(a, b): weight for a, b, weight in links.iter_rows()}
    grid = np.array([[weights.get((a, b), np.nan) for b in targets] for a in sources])
    ticks = [
        10.0**k for k in range(math.floor(math.log10(np.nanmin(grid))), math.ceil(math.log10(np.nanmax(grid))) + 1)
    ]
    ends = [
        [chart_text(labels.get(node, node), length) for node in side]
        for side in (sources, targets)
        for length in (20, 40)
    ]
    cells = {
        "type": "heatmap",
        "z": numbers(np.log10(grid)),
        "customdata": numbers(grid),
        "x": list(range(len(targets))),
        "y": list(range(len(sources))),
        "text": [[f"{a} → {b}" for b in ends[3]] for a in ends[1]],
        "hovertemplate": "%{text}: %{customdata:,.4~g}",
        "colorscale": [[0, "--heat-0"], [0.5, "--heat-1"], [1, "--heat-2"]],
        "xgap": 1,
        "ygap": 1,
        "colorbar": {
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": [math.log10(tick) for tick in ticks],
            "ticktext": [f"{tick:,.4g}" for tick in ticks],
        },
    }
    x = {"tickvals": cells["x"], "ticktext": ends[2], "tickangle": -90, "showgrid": False, "title": {"text": "to"}}
    y = {
        "tickvals": cells["y"],
        "ticktext": ends[0],
        "autorange": "reversed",
        "showgrid": False,
        "title": {"text": "from"},
    }
    return Figure(
        name="flows",
        alt="Flows between the busiest origins and destinations",
        caption="How to read: a row is where a flow starts, a column where it ends, the busiest first; the stronger "
        "a cell's colour, the more goes there. Each mark of the scale is ten times the one before; an empty cell had "
        "nothing in the whole span.",
        height=200 + 22 * len(sources),
        traces=[cells],
        layout={"hovermode": "closest", "xaxis": x, "yaxis": y},
        narrow={
            "height": 460,
            "xaxis": {"showticklabels": False, "title": {"text": "to (tap a cell for its names)"}},
            "yaxis": {"showticklabels": False},
        },
    )


def _heaviest(links: pl.DataFrame, end: str) -> list[str]:
    totals = links.group_by(end).agg(pl.col("weight").sum()).sort(["weight", end], descending=[True, False])
    return [str(node) for node in totals[end].head(MATRIX_SIDE)]
