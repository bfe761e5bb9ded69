"""The spec that `flockcast init --kind edges` writes is a start for each of the three tasks."""

import re
import tomllib
from pathlib import Path

import pytest

from pipelines.graph_task.spec import EdgeLabelTask, GraphSpec, LinkTask, NodeLabelTask
from pipelines.graph_task.template import graph_template
from pipelines.spec import parse_any

TEXT = graph_template(name="mine", files="edges.csv", timezone="Europe/Oslo")
EXAMPLES = ("epoch", "weight", "label", "files", "columns", "minority")  # which show no default


def parsed(text: str) -> GraphSpec:
    spec = parse_any(tomllib.loads(text), folder=Path())
    assert isinstance(spec, GraphSpec)
    return spec


def uncommented(text: str, *keys: str) -> str:
    """The template with the lines that show these keys, or the tables of these names, in force."""
    heads = tuple(f"# {key} = " for key in keys if "[" not in key) + tuple(f"# {key}" for key in keys if "[" in key)
    return "\n".join(line.removeprefix("# ") if line.startswith(heads) else line for line in text.splitlines())


def test_it_is_a_valid_spec_of_links() -> None:
    spec = parsed(TEXT)
    assert isinstance(spec.task, LinkTask)
    assert (spec.name, spec.data.files, spec.data.timezone) == ("mine", "edges.csv", "Europe/Oslo")


def test_the_defaults_that_it_shows_are_the_defaults() -> None:
    shown = [key for key in re.findall(r"^# (\w+) = ", TEXT, flags=re.MULTILINE) if key not in EXAMPLES]
    assert {"window", "split", "top", "variant", "hidden", "epochs", "patience", "negatives", "metric"} <= set(shown)
    assert parsed(uncommented(TEXT, *shown)) == parsed(TEXT)


@pytest.mark.parametrize("interval", ["1h", "1w", "1mo", "1200000s", "rank"])
def test_the_intervals_that_it_names_are_some(interval: str) -> None:
    assert f'"{interval}"' in TEXT
    assert parsed(TEXT.replace('interval = "1d"', f'interval = "{interval}"')).data.interval == interval


def test_its_comments_make_a_task_on_the_classes_of_edges() -> None:
    spec = parsed(uncommented(TEXT, "label", "minority").replace('kind = "links"', 'kind = "edge_labels"'))
    assert spec.task == EdgeLabelTask(kind="edge_labels", minority=0)
    assert spec.data.columns.label == "rating"


def test_its_comments_make_a_task_on_the_classes_of_nodes() -> None:
    text = uncommented(TEXT, "[data.nodes]", "files", "columns", "epoch", "weight")
    spec = parsed(text.replace('kind = "links"', 'kind = "node_labels"'))
    assert isinstance(spec.task, NodeLabelTask)
    assert spec.data.nodes is not None
    assert spec.data.nodes.columns.features == ["size", "age"]
    assert (spec.data.epoch, spec.data.columns.weight) == ("s", "weight")


def test_a_path_with_backslashes_is_written_so_that_it_is_read_back() -> None:
    assert parsed(graph_template(name="mine", files=r"C:\data\edges.csv")).data.files == r"C:\data\edges.csv"
