"""A small dynamic graph: twelve nodes, two circles of friends that write to each other again and again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.snapshot_store import SnapshotSet
from pipelines.graph_task.ingest import ingest_or_reuse
from pipelines.graph_task.spec import GraphSpec
from pipelines.spec import parse_any

STEPS, NODES = 30, 12


def write_edges(file: Path, *, steps: int = STEPS) -> None:
    """Each pair of a circle writes in about a third of the steps, others seldom; ratings of circle 0 are bad."""
    random = np.random.default_rng(5)
    rows = []
    for step in range(steps):
        for u in range(NODES):
            for v in range(u + 1, NODES):
                friends = u % 2 == v % 2
                if random.random() < (0.35 if friends else 0.02):
                    rows.append((f"n{u}", f"n{v}", 1_000_000_000 + 100 * step, -1 if friends and u % 2 == 0 else 1))
    pl.DataFrame(rows, schema=["source", "target", "time", "rating"], orient="row").write_csv(file)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_edges(tmp_path / "edges.csv")
    return tmp_path


@pytest.fixture
def graph_spec(home: Path) -> Callable[..., GraphSpec]:
    """A spec of the edges at home; tables given replace keys of the defaults."""

    def make(**tables: dict) -> GraphSpec:
        kind = tables.get("task", {}).get("kind", "links")
        columns = {"label": "rating"} if kind == "edge_labels" else {}
        raw = {
            "name": "friends",
            "data": {"kind": "edges", "files": "edges.csv", "interval": "100s", "epoch": "s", "columns": columns},
            "task": {"kind": kind, "window": 3} | tables.get("task", {}),
            "model": {"hidden": 6, "head": 8} | tables.get("model", {}),
            "training": {"epochs": 2, "negatives": 5} | tables.get("training", {}),
            "evaluation": {"baselines": ["repeat", "majority"]} | tables.get("evaluation", {}),
            "registry": tables.get("registry", {}),
        }
        spec = parse_any(raw, folder=home)
        assert isinstance(spec, GraphSpec)
        return spec

    return make


@pytest.fixture
def friends(graph_spec: Callable[..., GraphSpec]) -> SnapshotSet:
    return ingest_or_reuse(graph_spec(task={"kind": "edge_labels"}), say=lambda line: None)[0]
