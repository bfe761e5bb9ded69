"""The network drawn: the busiest nodes and the strongest edges among them, at the end of training and now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from data.snapshots import UNLABELLED, Snapshots
from data.splits import Ranges
from pipelines.graph_task.report.layout import spread_out
from pipelines.report.figures import Figure, numbers
from pipelines.report.maps import Place
from pipelines.report.network_figures import axis, below_each_other, panel_title, panels, span
from pipelines.report.words import chart_text

MOST_NODES = 60
MOST_EDGES = 150  # of each stretch
MOST_NAMES = 8
NAME = (0.1, 0.5)  # height and width of a name, where the disc has a radius of 1
WIDTHS = {6.0: 4.0, 2.0: 2.0, 0.0: 1.0}  # from this multiple of the median weight on -> of a line
KINDS = {"in both stretches": "--seen", "in this one alone": "--rival"}
UNKNOWN = "class not known"


@dataclass(frozen=True)
class Stretch:
    """Some steps, the strongest edges in them, and of which class the nodes last were."""

    title: str
    span: str
    edges: pl.DataFrame  # source, target, weight (of a step on average), the strongest first
    classes: Mapping[str, str]


@dataclass(frozen=True)
class Drawing:
    stretches: list[Stretch]
    at: dict[str, Place]
    busiest: list[str]  # first
    classes: tuple[str, ...]
    nodes: int  # with an edge in either stretch, drawn or not


def drawing(edges: pl.DataFrame, snapshots: Snapshots, ranges: Ranges, window: int) -> Drawing | None:
    """None where no two nodes are linked in the last `window` steps of training and of all."""
    linked = edges.filter(pl.col("source") != pl.col("target"))
    ends = {"End of training": ranges.train_end, "Newest steps": len(snapshots)}
    steps = {title: (max(0, end - window), end) for title, end in ends.items()}
    sums = {title: _sums(linked, *bounds) for title, bounds in steps.items()}
    ranked = _busiest(pl.concat(list(sums.values())))
    chosen = ranked[:MOST_NODES]
    drawn = {title: _strongest(each, chosen) for title, each in sums.items()}
    members = pl.concat([each.select(node=end) for each in drawn.values() for end in ("source", "target")])["node"]
    busiest = [node for node in chosen if node in set(members)]
    if not busiest:
        return None
    number = {node: place for place, node in enumerate(sorted(busiest))}
    pairs = pl.concat(list(drawn.values()))
    places = spread_out(len(number), np.array([[number[node] for node in pairs[end]] for end in ("source", "target")]))
    return Drawing(
        [
            Stretch(title, span(snapshots.clock[slice(*steps[title])]), each, _classes(snapshots, *steps[title]))
            for title, each in drawn.items()
        ],
        {node: (float(places[place, 1]), float(places[place, 0])) for node, place in number.items()},
        busiest,
        snapshots.classes,
        len(ranked),
    )


def _sums(edges: pl.DataFrame, first: int, last: int) -> pl.DataFrame:
    here = edges.filter(pl.col("step").is_between(first, last, closed="left"))
    return here.group_by("source", "target").agg(pl.col("weight").sum() / (last - first))


def _busiest(sums: pl.DataFrame) -> list[str]:
    ends = pl.concat([sums.select("weight", node=end) for end in ("source", "target")])
    busy = ends.group_by("node").agg(pl.col("weight").sum())
    return busy.sort("weight", "node", descending=[True, False])["node"].to_list()


def _strongest(sums: pl.DataFrame, nodes: list[str]) -> pl.DataFrame:
    among = sums.filter(pl.col("source").is_in(nodes) & pl.col("target").is_in(nodes))
    return among.sort("weight", "source", "target", descending=[True, False, False]).head(MOST_EDGES)


def _classes(snapshots: Snapshots, first: int, last: int) -> dict[str, str]:
    """Name of a node -> its class where it was last known."""
    found: dict[str, str] = {}
    for snapshot in snapshots[first:last]:
        if snapshot.node_label is not None:
            known = snapshot.node_label != UNLABELLED
            ids, labels = snapshot.nodes[known].tolist(), snapshot.node_label[known].tolist()
            found |= {snapshots.names[node]: snapshots.classes[label] for node, label in zip(ids, labels, strict=True)}
    return found


# ---------------------------------------------------------------- the figure


def drawn_figure(found: Drawing) -> Figure:
    """Two panels with the same places."""
    shared = set.intersection(*(_pairs(stretch.edges) for stretch in found.stretches))
    usual = float(np.median(np.concatenate([stretch.edges["weight"].to_numpy() for stretch in found.stretches])))
    traces = []
    for panel, stretch in enumerate(found.stretches):
        for trace in (*_lines(stretch, found.at, shared, usual), *_spots(stretch, found)):
            traces.append({**trace, "xaxis": axis("x", panel), "yaxis": axis("y", panel)})
    colours = " A node has the colour of the class that it was last known to have." if found.classes else ""
    return Figure(
        name="drawn",
        alt="The busiest nodes and the strongest edges among them, at the end of training and now",
        caption=f"How to read: the {len(found.at)} busiest nodes that are linked with one another and up to "
        f"{MOST_EDGES} of the strongest edges among them, thicker where they weigh more; {found.nodes:,} nodes have "
        "an edge in these steps. Linked nodes are close, places mean nothing else and are the same in both panels, "
        f"and a larger dot has more of the edges drawn. Directions are not drawn.{colours}",
        height=520,
        traces=_once_in_the_legend(traces),
        layout={
            **panels(list(found.at.values()), len(found.stretches)),
            "annotations": [panel_title(stretch.title, stretch.span, i) for i, stretch in enumerate(found.stretches)],
            "showlegend": True,
            "legend": {"traceorder": "normal", "y": -0.02, "yanchor": "top"},
        },
        narrow={"height": 840, **below_each_other(len(found.stretches))},
    )


def _pairs(edges: pl.DataFrame) -> set[tuple[str, str]]:
    return set(zip(edges["source"], edges["target"], strict=True))


def _lines(
    stretch: Stretch, at: Mapping[str, Place], shared: set[tuple[str, str]], usual: float
) -> list[dict[str, Any]]:
    """A trace for each kind of edge and each width: Plotly draws a trace in one width."""
    groups: dict[tuple[str, float], list[tuple[str, str]]] = {}
    for source, target, weight in stretch.edges.iter_rows():
        kind = list(KINDS)[(source, target) not in shared]
        width = next(width for times, width in WIDTHS.items() if weight >= times * usual)
        groups.setdefault((kind, width), []).append((source, target))
    return [_line(pairs, at, kind, width) for (kind, width), pairs in sorted(groups.items())]


def _line(pairs: list[tuple[str, str]], at: Mapping[str, Place], kind: str, width: float) -> dict[str, Any]:
    ends = np.array([[at[a], at[b], (np.nan, np.nan)] for a, b in pairs]).reshape(-1, 2)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": kind,
        "legendgroup": kind,
        "x": numbers(ends[:, 1]),
        "y": numbers(ends[:, 0]),
        "line": {"color": KINDS[kind], "width": width},
        "opacity": 0.75,
        "hoverinfo": "skip",
    }


def _spots(stretch: Stretch, found: Drawing) -> list[dict[str, Any]]:
    """A trace for each class, where there are any."""
    degree = dict.fromkeys(found.at, 0)
    for end in ("source", "target"):
        for node in stretch.edges[end]:
            degree[node] += 1
    groups: dict[str, list[str]] = {name: [] for name in (*found.classes, UNKNOWN)}
    for node in found.at:
        groups[stretch.classes.get(node, UNKNOWN)].append(node)
    named = set(_legible(found))
    return [
        {
            "type": "scatter",
            "mode": "markers+text",
            "name": chart_text(name),
            "legendgroup": f"class {name}",
            "showlegend": bool(found.classes),
            "x": numbers([found.at[node][1] for node in nodes]),
            "y": numbers([found.at[node][0] for node in nodes]),
            "text": [chart_text(node, 16) if node in named else "" for node in nodes],
            "textposition": "top center",
            "hovertext": [f"{chart_text(node, 60)}: {degree[node]} of the edges drawn" for node in nodes],
            "hoverinfo": "text",
            "marker": {
                "size": numbers([5 + 2 * degree[node] ** 0.5 for node in nodes]),
                "color": "--ink" if name == UNKNOWN else f"--line-{place % 6 + 1}",
                "opacity": 0.35 if name == UNKNOWN and found.classes else 0.85,
                "line": {"color": "--paper", "width": 1},
            },
        }
        for place, (name, nodes) in enumerate(groups.items())
        if nodes
    ]


def _legible(found: Drawing) -> list[str]:
    """The busiest nodes whose names do not run into each other."""
    chosen: list[str] = []
    for node in found.busiest:
        y, x = found.at[node]
        clear = all(abs(y - found.at[n][0]) > NAME[0] or abs(x - found.at[n][1]) > NAME[1] for n in chosen)
        if clear and len(chosen) < MOST_NAMES:
            chosen.append(node)
    return chosen


def _once_in_the_legend(traces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: set[str] = set()
    shown = []
    for trace in traces:
        first = trace["legendgroup"] not in seen
        seen.add(trace["legendgroup"])
        shown.append({**trace, "showlegend": first and trace.get("showlegend", True)})
    return shown
