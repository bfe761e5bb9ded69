"""A run of each task on a dynamic graph of twelve nodes, one of them with a name that is a script."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from data.snapshot_store import SnapshotSet
from pipelines.graph_task.artefact import describe_artefact, load_artefact, save_artefact
from pipelines.graph_task.experiment import Trained, train
from pipelines.graph_task.ingest import ingest_or_reuse
from pipelines.graph_task.predict import GraphForecast, cutoff_of, predict
from pipelines.graph_task.report.page import page
from pipelines.graph_task.spec import GraphSpec
from pipelines.results import Registered
from pipelines.spec import parse_any

STEPS, NODES = 24, 12
HOSTILE = "</script><script>alert('node')</script>"
NAMES = [HOSTILE, *(f"n{node}" for node in range(1, NODES))]
KINDS = ("links", "edge_labels", "node_labels")


@dataclass(frozen=True)
class Run:
    spec: GraphSpec
    dataset: SnapshotSet
    trained: Trained
    registered: Registered
    found: GraphForecast

    @property
    def page(self) -> str:
        return page(self.spec, self.dataset, self.trained, self.registered, self.found)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("circles")
        patch.setenv("FLOCKCAST_HOME", str(folder / "home"))
        _write(folder)
        return {kind: _run(folder, kind) for kind in KINDS}  # the home of all other tests is theirs again


@pytest.fixture(params=KINDS)
def run(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    return runs[request.param]


@pytest.fixture
def links(runs: dict[str, Run]) -> Run:
    return runs["links"]


def _write(folder: Path) -> None:
    """Two circles of friends; a row without a time is rejected, and so is one without a target."""
    random = np.random.default_rng(5)
    edges: list[tuple[Any, ...]] = []
    for step in range(STEPS):
        for u in range(NODES):
            for v in range(u + 1, NODES):
                friends = u % 2 == v % 2
                if random.random() < (0.35 if friends else 0.02):
                    edges.append((NAMES[u], NAMES[v], step, -1 if friends and u % 2 == 0 else 1))
    edges += [("n1", "n2", None, 1), ("n1", None, 3, 1)]
    pl.DataFrame(edges, schema=["source", "target", "time", "rating"], orient="row").write_csv(folder / "edges.csv")
    moods = [(name, "sad" if node % 3 == 0 else "<b>glad</b>") for node, name in enumerate(NAMES[:-1])]
    pl.DataFrame([*moods, (NAMES[-1], "?")], schema=["node", "mood"], orient="row").write_csv(folder / "nodes.csv")


def _run(folder: Path, kind: str) -> Run:
    nodes = {"files": "nodes.csv", "unknown": ["?"], "columns": {"label": "mood", "time": None}}
    columns = {"label": "rating"} if kind == "edge_labels" else {}
    about_nodes = {"nodes": nodes} if kind == "node_labels" else {}
    raw = {
        "name": f"circles-{kind.replace('_', '-')}",
        "description": "Who writes to whom.",
        "data": {"kind": "edges", "files": "edges.csv", "interval": "rank", "columns": columns, **about_nodes},
        "task": {"kind": kind, "window": 3},
        "model": {"hidden": 6, "head": 8},
        "training": {"epochs": 4, "negatives": 5, "check_every": 2},
        "evaluation": {"baselines": ["repeat", "activity", "majority", "gcn"]},
    }
    spec = parse_any(raw, folder=folder)
    assert isinstance(spec, GraphSpec)
    dataset, _ = ingest_or_reuse(spec, say=lambda line: None)
    trained = train(spec, dataset, say=lambda line: None)
    config = describe_artefact(spec, trained.prepared, trained.evaluated)
    save_artefact(folder / kind, config, trained.evaluated.fitted.network)
    artefact = load_artefact(folder / kind)
    registered = Registered(spec.name, "2", "challenger", "run", "sqlite:///a", "challenger: 3 % worse than champion 1")
    frame = predict(artefact, dataset.snapshots)
    return Run(spec, dataset, trained, registered, GraphForecast("gcn", "1", cutoff_of(dataset.snapshots), frame))
