"""The network over time: measured twice, and drawn as measured."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dataset import DataSet
from data.flow_snapshots import flow_snapshots
from data.splits import Ranges
from pipelines.report import write_report
from pipelines.report.findings import of_network
from pipelines.report.maps import coordinates
from pipelines.report.network import (
    NetworkCourse,
    apart,
    at_least,
    edges_of_flows,
    edges_of_snapshots,
    network_course,
)
from pipelines.report.network_figures import (
    MOST_DRAWN,
    course_figure,
    drift_figure,
    moments,
    moments_figure,
    network_figures,
    span,
    stretches,
)
from pipelines.report.words import node_labels

Run = dict[str, Any]
RANGES = Ranges(train_end=12, validation_end=16, end=20)
HOURS = pd.date_range("2024-03-01", periods=20, freq="h", tz="Europe/Oslo")
NAMES = ("network", "network-drift", "network-moments")


def random_edges(seed: int, *, steps: int = 20, nodes: int = 6, chance_of_edge: float = 0.2) -> pl.DataFrame:
    """Self-loops among them; some steps have no edge."""
    chance = np.random.default_rng(seed)
    there = chance.random((steps, nodes, nodes)) < chance_of_edge
    there[chance.random(steps) < 0.2] = False
    step, source, target = there.nonzero()
    names = np.array([f"n{i}" for i in range(nodes)])
    weight = chance.integers(1, 50, len(step)).astype(float)
    return pl.DataFrame({"step": step, "source": names[source], "target": names[target], "weight": weight})


def counted(edges: pl.DataFrame) -> dict[int, dict[str, tuple[int, float]]]:
    """step -> node -> degree and strength, an edge at a time."""
    found: dict[int, dict[str, tuple[int, float]]] = defaultdict(dict)
    for step, source, target, weight in edges.iter_rows():
        for node in {source, target}:
            degree, strength = found[step].get(node, (0, 0.0))
            found[step][node] = degree + 1, strength + weight
    return found


def largest_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov and Smirnov's distance, a value at a time."""
    return max(abs(float(np.mean(one <= value) - np.mean(other <= value))) for value in {*one, *other})


def course_of(edges: pl.DataFrame) -> NetworkCourse:
    return network_course(edges, HOURS)


def course_lines(drawn: Any, axis: str) -> list[dict[str, Any]]:
    return [trace for trace in drawn.traces if trace["yaxis"] == axis]


# ---------------------------------------------------------------- what is measured


@given(st.integers(0, 200))
def test_each_step_is_measured_as_a_loop_over_its_edges_measures_it(seed: int) -> None:
    edges = random_edges(seed)
    course, slow = course_of(edges), counted(edges)
    assert len(course.steps) == len(HOURS)
    for row in course.steps.to_dicts():
        weights = edges.filter(pl.col("step") == row["step"])["weight"]
        measured = list(slow[row["step"]].values())
        assert (row["nodes"], row["edges"], row["weight"]) == (len(measured), len(weights), weights.sum())
        for place, measure in enumerate(("degree", "strength")):
            values = [each[place] for each in measured]
            assert row[f"largest_{measure}"] == (max(values) if values else None)
            assert row[f"mean_{measure}"] == (pytest.approx(np.mean(values)) if values else None)


def test_flows_and_their_snapshots_are_the_same_network(city: Run) -> None:
    dataset = city["dataset"]
    index = dataset.panel.index
    of_flows = network_course(edges_of_flows(dataset.flows, index), index)
    of_snapshots = network_course(edges_of_snapshots(flow_snapshots(dataset.flows, dataset.panel)), index)
    assert of_flows.steps["edges"].sum() > 1000
    assert of_flows.steps.equals(of_snapshots.steps)


def test_an_undirected_graph_has_each_edge_once(city: Run) -> None:
    snapshots = flow_snapshots(city["dataset"].flows, city["dataset"].panel)
    both = replace(snapshots, is_directed=False)
    place = {name: i for i, name in enumerate(snapshots.names)}
    rows = edges_of_snapshots(both).iter_rows()
    assert all(place[source] <= place[target] for _, source, target, _ in rows)


def test_snapshots_without_an_edge_are_a_network_without_one(city: Run) -> None:
    dataset = city["dataset"]
    snapshots = flow_snapshots(dataset.flows.head(0), dataset.panel)
    steps = network_course(edges_of_snapshots(snapshots), dataset.panel.index).steps
    assert steps["edges"].sum() == 0
    assert steps["mean_degree"].null_count() == len(steps)


def test_a_flow_of_nothing_is_no_edge(city: Run) -> None:
    flows, index = city["dataset"].flows, city["dataset"].panel.index
    nothing = flows.head(100).with_columns(weight=pl.lit(0))
    assert edges_of_flows(nothing, index).is_empty()


@given(st.lists(st.integers(1, 9), min_size=1), st.lists(st.integers(1, 9), min_size=1))
def test_the_distance_of_two_distributions_is_that_of_a_loop_over_values(one: list[int], other: list[int]) -> None:
    a, b = np.sort(one), np.sort(other)
    assert apart(a, b) == pytest.approx(largest_gap(a, b))
    distinct, share = at_least(a)
    assert share.tolist() == pytest.approx([np.mean(a >= value) for value in distinct])


# ---------------------------------------------------------------- what is drawn


def test_the_course_draws_each_range_in_its_colour_up_to_where_it_ends() -> None:
    edges = random_edges(1)
    drawn = course_figure(course_of(edges), RANGES)
    lines = course_lines(drawn, "y2")
    assert [line["name"] for line in lines] == ["training", "validation", "test"]
    assert [len(line["x"]) for line in lines] == [12, 4, 4]
    assert len({line["line"]["color"] for line in lines}) == 3
    course = course_of(edges)
    assert [y for line in lines for y in line["y"]] == course.steps["edges"].to_list()
    assert [shape["x0"] for shape in drawn.layout["shapes"]] == ["2024-03-01 12:00", "2024-03-01 16:00"]
    assert sum(trace["showlegend"] for trace in drawn.traces) == 3, "once a range, not once a line"


def test_a_long_course_is_thinned_to_means_and_keeps_its_largest_degree() -> None:
    long = pd.date_range("2020-01-01", periods=9000, freq="h", tz="UTC")
    course = network_course(random_edges(2, steps=9000), long)
    ranges = Ranges(7000, 8000, 9000)
    parts = [stretches(course, *bounds) for bounds in ((0, 7000), (7000, 8000), (8000, 9000))]
    assert sum(map(len, parts)) <= 410
    for part, (first, last) in zip(parts, ((0, 7000), (7000, 8000), (8000, 9000)), strict=True):
        mean = np.average(part["edges"].to_numpy(), weights=part["length"].to_numpy())
        assert mean == pytest.approx(float(course.steps["edges"][first:last].mean()))  # type: ignore[arg-type]
        assert part["largest_degree"].max() == course.steps["largest_degree"][first:last].max()
    assert "the mean of up to 23 steps" in course_figure(course, ranges).caption
    assert "A point is the mean" not in course_figure(course_of(random_edges(2)), RANGES).caption


def test_a_clock_of_ranks_is_an_axis_of_ranks() -> None:
    drawn = course_figure(network_course(random_edges(3), pd.RangeIndex(20)), RANGES)
    assert drawn.traces[0]["x"] == list(range(12))
    assert span(pd.RangeIndex(5, 10)) == "step 5 to 9"


def test_the_drift_compares_training_with_test_and_not_with_validation() -> None:
    """Hubs in validation alone change nothing."""
    edges = random_edges(4)
    hub = pl.DataFrame({"step": [13] * 3, "source": ["hub"] * 3, "target": ["a", "b", "c"], "weight": [1e6] * 3})
    plain, with_hub = (drift_figure(course_of(each), RANGES) for each in (edges, pl.concat([edges, hub])))
    assert plain.traces == with_hub.traces
    degree = course_of(edges).incidence.filter(pl.col("step") < 12)["degree"]
    line = plain.traces[0]
    for value, share in zip(line["x"][:-1], line["y"][:-1], strict=True):
        assert share == pytest.approx((degree >= value).mean(), rel=1e-4)


def test_the_drawn_moments_hold_the_strongest_edges_of_their_quarter() -> None:
    edges = random_edges(5, nodes=12, chance_of_edge=0.5)
    found = moments(edges, HOURS, {})
    assert [moment.title for moment in found] == ["First quarter", "Middle", "Last quarter"]
    assert [moment.span for moment in found][2] == "1 Mar, 15:00 to 1 Mar, 19:00"
    for moment, (first, last) in zip(found, ((0, 5), (7, 12), (15, 20)), strict=True):
        totals: dict[tuple[str, str], float] = defaultdict(float)
        for step, source, target, weight in edges.iter_rows():
            if first <= step < last and source != target:
                totals[source, target] += weight / 5
        strongest = sorted(totals.values(), reverse=True)[:MOST_DRAWN]
        assert moment.edges["weight"].to_list() == pytest.approx(strongest)
        assert all(totals[a, b] == pytest.approx(w) for a, b, w in moment.edges.iter_rows())


def test_all_moments_have_one_scale_and_the_same_places(city: Run) -> None:
    panel, flows = city["dataset"].panel, city["dataset"].flows
    edges = edges_of_flows(flows, panel.index).with_columns(
        weight=pl.when(pl.col("step") < 60).then(pl.col("weight") / 4).otherwise(pl.col("weight"))
    )
    places, labels = coordinates(panel), node_labels(panel.static)
    drawn = moments_figure(moments(edges, panel.index, places), places, labels)
    widest = {
        axis: max(trace["line"]["width"] for trace in drawn.traces if trace["xaxis"] == axis and "line" in trace)
        for axis in ("x", "x2", "x3")
    }
    assert widest["x"] < 0.5 * max(widest["x2"], widest["x3"])
    dots = [(trace["x"], trace["y"]) for trace in drawn.traces if trace["mode"] == "markers+text"]
    assert len(dots) == 3
    assert dots[0] == dots[1] == dots[2]
    assert dots[0][1][0] in [round(latitude, 6) for latitude, _ in places.values()]
    assert "north is up" in drawn.caption


def test_no_two_names_of_a_moment_share_a_line_and_none_leaves_its_panel() -> None:
    """The two busiest are neighbours; the busier of them is named, and others further off."""
    places = {"a": (50.0, 8.0), "b": (50.01, 8.9), "c": (51.0, 8.5), "d": (50.5, 9.0)}
    links = [("a", "b", 9.0), ("a", "c", 5.0), ("a", "d", 3.0)]
    source, target, weight = zip(*links, strict=True)
    once = pl.DataFrame({"source": source, "target": target, "weight": weight})
    edges = pl.concat([once.with_columns(step=pl.lit(step)) for step in range(20)])
    drawn = moments_figure(moments(edges, HOURS, places), places, {})
    for dots in (trace for trace in drawn.traces if trace["mode"] == "markers+text"):
        assert dots["text"] == ["a", "", "c", "d"]
        assert dots["textposition"] == ["middle right", "middle left", "middle left", "middle left"]


def test_without_coordinates_the_nodes_are_around_a_circle(city: Run) -> None:
    panel, flows = city["dataset"].panel, city["dataset"].flows
    drawn = moments_figure(moments(edges_of_flows(flows, panel.index), panel.index, {}), {}, {})
    dots = next(trace for trace in drawn.traces if trace["mode"] == "markers+text")
    assert np.hypot(dots["x"], dots["y"]) == pytest.approx(np.ones(len(dots["x"])), abs=1e-5)
    assert len(set(zip(dots["x"], dots["y"], strict=True))) == len(dots["x"])
    assert "around a circle" in drawn.caption


# ---------------------------------------------------------------- what is said


def test_the_sentence_says_how_far_the_network_has_drifted() -> None:
    edges = random_edges(6, nodes=10)
    twice = edges.with_columns(weight=pl.when(pl.col("step") >= 16).then(pl.col("weight") * 3).otherwise("weight"))
    said = of_network(course_of(twice), RANGES)
    course = course_of(twice)
    before, after = course.within("strength", 0, 12), course.within("strength", 16, 20)
    assert f"its strength drifts, from {before.mean():.1f} in training to" in said
    assert f"at most {100 * largest_gap(before, after):.1f} points apart." in said
    steady = pl.DataFrame({"step": range(20), "source": ["a"] * 20, "target": ["b"] * 20, "weight": [2.0] * 20})
    assert "degree hardly drifts, from 1.00 in training to 1.00 in test on average (+0\u00a0%)" in of_network(
        course_of(steady), RANGES
    )


def test_without_an_edge_in_test_no_drift_is_claimed() -> None:
    course = course_of(random_edges(7).filter(pl.col("step") < 12))
    assert "no drift to measure" in of_network(course, RANGES)
    edges = random_edges(7).filter(pl.col("step") < 12)
    drawn = [figure.name for figure in network_figures(course, edges, RANGES, {}, {})]
    assert drawn == ["network", "network-moments"]


def test_only_flows_within_nodes_draw_no_network_of_links() -> None:
    loops = pl.DataFrame({"step": range(20), "source": ["a"] * 20, "target": ["a"] * 20, "weight": [2.0] * 20})
    course = course_of(loops)
    assert [figure.name for figure in network_figures(course, loops, RANGES, {}, {})] == ["network", "network-drift"]
    assert course.steps["largest_degree"].to_list() == [1] * 20


# ---------------------------------------------------------------- the page


def written(run: Run, folder: Path) -> str:
    return write_report(**run, path=folder / "report.html").read_text(encoding="utf-8")


def test_a_data_set_with_flows_has_the_section_and_a_link_to_it(city: Run, tmp_path: Path) -> None:
    page = written(city, tmp_path)
    assert '<a href="#network">Network over time</a>' in page
    section = page.split('<section id="network">')[1].split("</section>")[0]
    for name in NAMES:
        assert f'id="chart-{name}"' in section
    assert section.count("How to read:") == len(NAMES)
    assert "hardly drifts" in section


def test_a_data_set_without_flows_has_neither(make_run: Callable[..., Run], city: Run, tmp_path: Path) -> None:
    none = make_run(flows=False)
    empty: DataSet = replace(city["dataset"], flows=city["dataset"].flows.head(0))
    for run in (none, {**city, "dataset": empty}):
        page = written(run, tmp_path)
        assert "#network" not in page
        assert "The network over time" not in page
