"""A spec of edges: its own schema, the same manner of complaint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SpecError
from pipelines.graph_task.spec import GraphSpec
from pipelines.spec import load_spec, parse_any, parse_spec


def raw(**tables: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "x",
        "data": {"kind": "edges", "files": "edges.csv", "interval": "1d"} | tables.get("data", {}),
        "task": {"kind": "links"} | tables.get("task", {}),
        **{name: table for name, table in tables.items() if name not in ("data", "task")},
    }


NODES: dict[str, Any] = {
    "task": {"kind": "node_labels"},
    "data": {"nodes": {"files": "n.csv", "columns": {"label": "class"}}},
}


@pytest.mark.parametrize(
    ("tables", "line"),
    [
        (
            {"task": {"windw": 3}},
            "x.toml: task.windw: unknown key (did you mean 'window'?); allowed here: kind, split, ",
        ),
        ({"task": {"kind": "link"}}, "x.toml: task.kind: 'link' is not allowed (did you mean 'links'?)"),
        ({"data": {"interval": "1 day"}}, "x.toml: data.interval: '1 day' is no length of a step; write seconds"),
        ({"data": {"timezone": "Europe/Pariss"}}, "is no IANA time zone (did you mean 'Europe/Paris'?)"),
        ({"model": {"varaint": "O"}}, "x.toml: model.varaint: unknown key (did you mean 'variant'?)"),
        ({"model": {"name": "gcn", "variant": "O"}}, "x.toml: model.variant: unknown key"),
        ({"model": {"name": "lstm"}}, "x.toml: model.name: 'lstm' is not allowed; allowed: evolvegcn, gcn, gcn_gru"),
        ({"model": {"rnn": "lstm", "remedy": "closed_gate"}}, "choose remedy 'residual' or 'keep_norm'"),
        ({"model": {"stacked": True}}, "stacked needs pair_memory = true"),
        ({"task": {"kind": "edge_labels"}}, "data.columns.label is missing"),
        ({"task": {"kind": "node_labels"}}, "data.nodes.columns.label is missing"),
        (NODES | {"data": {"nodes": {"files": "n.csv", "columns": {"features": ["a"]}}}}, "columns.label is missing"),
        ({"data": {"nodes": {"files": "n.csv", "columns": {}}}}, "data.nodes.columns: neither label nor features"),
        ({"data": {"nodes": {"files": "n.csv", "columns": {"lable": "y"}}}}, "unknown key (did you mean 'label'?)"),
        ({"data": {"nodes": {"files": "n.csv", "columns": {"features": ["a", "a"]}}}}, "'a' more than once"),
        ({"data": {"nodes": NODES["data"]["nodes"] | {"classes": ["a"]}}}, "must name two classes or more"),
        (NODES | {"model": {"pair_memory": True}}, "model.pair_memory is about pairs of nodes; leave it out"),
        (NODES | {"model": {"symmetric": True}}, "model.symmetric is about pairs of nodes; leave it out"),
        ({"model": {"features": "given"}}, "model.features 'given' needs data.nodes.columns.features"),
        ({"training": {"class_weights": [1, 2, 3]}}, "training.class_weights must be 2 numbers"),
        ({"registry": {"metric": "micro_f1"}}, "registry.metric 'micro_f1' is none of this task's: map, mrr"),
        ({"data": {"kind": "edge"}}, "x.toml: data.kind: 'edge' is not allowed (did you mean 'edges'?)"),
    ],
)
def test_a_mistake_is_one_line_with_key_and_remedy(tables: dict[str, Any], line: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_any(raw(**tables), folder=Path(), called="x.toml")
    assert line in str(caught.value).splitlines()[0]


def test_a_spec_of_series_is_asked_for_where_only_series_will_do() -> None:
    with pytest.raises(SpecError, match="data.kind: 'edges' is not allowed"):
        parse_spec(raw(), folder=Path())


def test_what_a_task_is_compared_by_follows_from_the_task(graph_spec: Callable[..., GraphSpec]) -> None:
    assert graph_spec().metric == "map"
    assert graph_spec(task={"kind": "edge_labels"}).metric == "minority_f1"
    assert graph_spec(registry={"metric": "mrr"}).metric == "mrr"


@pytest.mark.parametrize("name", ["uci-links", "as733-links"])
def test_bundled_specs_of_edges_are_graphs(name: str) -> None:
    assert isinstance(load_spec(name), GraphSpec)


def test_classes_of_edges_have_no_rule_to_stack_on(graph_spec: Callable[..., GraphSpec]) -> None:
    with pytest.raises(SpecError, match="model.stacked is of links alone"):
        graph_spec(task={"kind": "edge_labels"}, model={"pair_memory": True, "stacked": True})
