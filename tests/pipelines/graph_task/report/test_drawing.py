from collections.abc import Callable

import numpy as np
import pandas as pd
import polars as pl
import torch

from data.snapshots import UNLABELLED, Snapshot, Snapshots
from data.splits import Ranges
from pipelines.graph_task.report.drawing import MOST_EDGES, MOST_NODES, UNKNOWN, drawing, drawn_figure
from pipelines.graph_task.report.layout import spread_out

RANGES = Ranges(train_end=4, validation_end=5, end=8)


def snapshots(names: tuple[str, ...], label: Callable[[int], list[int]] | None = None) -> Snapshots:
    """Eight steps without an edge, in which all nodes are there; `label` gives their classes at a step."""
    everyone, nothing = torch.arange(len(names)), torch.empty(2, 0, dtype=torch.int64)
    steps = [
        Snapshot(everyone, nothing, torch.empty(0), node_label=torch.tensor(label(step)) if label else None)
        for step in range(8)
    ]
    return Snapshots(tuple(steps), names, pd.Index(range(8)), "rank", True, classes=("sad", "glad") if label else ())


def edges(rows: list[tuple[int, str, str, float]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["step", "source", "target", "weight"], orient="row")


def lines(drawn: list[dict], panel: int) -> dict[str, int]:
    """Kind of edge -> how many are drawn in a panel."""
    found: dict[str, int] = {}
    for trace in drawn:
        if trace["mode"] == "lines" and trace["xaxis"] == ("x", "x2")[panel]:
            found[trace["name"]] = found.get(trace["name"], 0) + trace["x"].count(None)
    return found


def test_edges_are_those_of_the_end_of_training_and_of_the_newest_steps() -> None:
    rows = [
        (0, "a", "d", 99.0),  # before both stretches
        (2, "a", "b", 1.0),
        (3, "b", "c", 4.0),
        (5, "a", "c", 99.0),  # between them
        (7, "a", "b", 3.0),
        (7, "c", "c", 9.0),  # no edge between two nodes
    ]
    found = drawing(edges(rows), snapshots(("a", "b", "c", "d")), RANGES, window=2)
    assert found is not None
    assert [stretch.edges.rows() for stretch in found.stretches] == [
        [("b", "c", 2.0), ("a", "b", 0.5)],  # of a step on average
        [("a", "b", 1.5)],
    ]
    assert [stretch.span for stretch in found.stretches] == ["step 2 to 3", "step 6 to 7"]
    traces = drawn_figure(found).traces
    assert lines(traces, 0) == {"in both stretches": 1, "in this one alone": 1}
    assert lines(traces, 1) == {"in both stretches": 1}
    ends = {
        (x, y)
        for trace in traces
        if trace["mode"] == "markers+text"
        for x, y in zip(trace["x"], trace["y"], strict=True)
    }
    for trace in traces:
        if trace["mode"] == "lines":
            assert {(x, y) for x, y in zip(trace["x"], trace["y"], strict=True) if x is not None} <= ends


def test_a_large_network_is_cut_to_its_busiest_nodes() -> None:
    draw = np.random.default_rng(0)
    rows = {(7, f"n{u}", f"n{v}"): 1.0 for u, v in draw.integers(0, 300, (20_000, 2))}
    rows |= {(7, "hub", f"n{v}"): 50.0 for v in range(300)}
    found = drawing(
        edges([(*key, weight) for key, weight in rows.items()]),
        snapshots(("hub", *(f"n{u}" for u in range(300)))),
        RANGES,
        window=2,
    )
    assert found is not None
    assert found.busiest[0] == "hub"
    assert len(found.at) <= MOST_NODES
    assert found.nodes == 301
    assert sum(lines(drawn_figure(found).traces, 1).values()) == MOST_EDGES


def test_nodes_have_the_class_that_they_were_last_known_to_have() -> None:
    def label(step: int) -> list[int]:
        return [1 if step == 7 else 0, 0 if step < 7 else UNLABELLED, 1 if step == 0 else UNLABELLED]

    rows = [(step, u, v, 1.0) for step in (3, 7) for u, v in (("a", "b"), ("b", "c"))]
    found = drawing(edges(rows), snapshots(("a", "b", "c"), label), RANGES, window=2)
    assert found is not None
    assert dict(found.stretches[0].classes) == {"a": "sad", "b": "sad"}
    assert dict(found.stretches[1].classes) == {"a": "glad", "b": "sad"}
    spots = [trace for trace in drawn_figure(found).traces if trace["mode"] == "markers+text"]
    assert [spot["name"] for spot in spots] == ["sad", UNKNOWN, "sad", "glad", UNKNOWN]
    assert [spot["showlegend"] for spot in spots] == [True, True, False, True, False]


def test_nothing_is_drawn_where_nothing_is_linked() -> None:
    assert drawing(edges([(0, "a", "b", 1.0), (7, "a", "a", 1.0)]), snapshots(("a", "b")), RANGES, window=2) is None


def test_names_are_text_and_no_markup() -> None:
    name = "<b>a</b>"
    found = drawing(edges([(7, name, "b", 1.0)]), snapshots((name, "b")), RANGES, window=2)
    assert found is not None
    spots = [trace for trace in drawn_figure(found).traces if trace["mode"] == "markers+text"]
    assert "&lt;b&gt;a&lt;/b&gt;" in spots[0]["text"]
    assert all("<b>" not in text for spot in spots for text in spot["text"] + spot["hovertext"])


def test_linked_nodes_are_closer_than_others_and_all_are_in_sight() -> None:
    """Four circles of six friends, with no link between them."""
    circle = np.random.default_rng(0).permutation(24) % 4
    pairs = [(u, v) for u in range(24) for v in range(u) if circle[u] == circle[v]]
    at = spread_out(24, np.array(pairs).T)
    distance = np.linalg.norm(at[:, None] - at[None], axis=2)
    friends = circle[:, None] == circle
    off_diagonal = ~np.eye(24, dtype=bool)
    assert distance[friends & off_diagonal].mean() < 0.6 * distance[~friends].mean()
    assert np.linalg.norm(at, axis=1).max() <= 1 + 1e-9
    assert distance[off_diagonal].min() > 0.02
    np.testing.assert_array_equal(at, spread_out(24, np.array(pairs).T))
