"""Classes of nodes, from two files to a forecast: a node is bad where its neighbours' feature is high."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from data.errors import DataError
from data.snapshot_store import SnapshotSet
from data.snapshots import UNLABELLED
from pipelines.errors import SpecError, TrainingError
from pipelines.graph_task.artefact import GraphArtefact, describe_artefact, load_artefact, save_artefact
from pipelines.graph_task.experiment import Trained, outlook, train
from pipelines.graph_task.features import feature_width
from pipelines.graph_task.gate import judge
from pipelines.graph_task.ingest import describe, ingest_or_reuse
from pipelines.graph_task.predict import predict
from pipelines.graph_task.prepare import Prepared, prepare
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.train import fit, usual_weights
from pipelines.spec import parse_any

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
Make = Callable[..., GraphSpec]
STEPS, NODES, NEWCOMERS = 30, 40, 20  # from step NEWCOMERS on, half of the names are new


def write(folder: Path) -> None:
    """Even nodes have a load and no class, odd ones a class and no load: bad where the mean load around is high."""
    random = np.random.default_rng(3)
    edges, nodes = [], []
    for step in range(STEPS):
        first = 0 if step < NEWCOMERS else NODES // 2
        load = random.normal(size=NODES)
        for node in range(NODES):
            around = 2 * random.choice(NODES // 2, size=random.integers(4), replace=False)
            edges += [(f"n{first + node}", f"n{first + other}", step) for other in around if node % 2]
            name = ("bad" if load[around].mean() > 0.3 else "fine") if node % 2 and len(around) else "?"
            own = None if node % 2 else 100 + 10 * load[node]
            nodes.append((f"n{first + node}", step, name, own, random.normal()))
    pl.DataFrame(edges, schema=["source", "target", "time"], orient="row").write_csv(folder / "edges.csv")
    schema = ["node", "time", "class", "load", "noise"]
    pl.DataFrame(nodes, schema=schema, orient="row").write_csv(folder / "nodes.csv")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    write(tmp_path)
    return tmp_path


@pytest.fixture
def make(home: Path) -> Make:
    """A spec of the two files; tables given replace keys of the defaults."""

    def make(*, nodes: dict[str, Any] | None = None, columns: dict[str, Any] | None = None, **tables: Any) -> GraphSpec:
        named = {"time": "time", "label": "class", "features": ["load", "noise"]} | (columns or {})
        raw = {
            "name": "town",
            "data": {
                "kind": "edges",
                "files": "edges.csv",
                "interval": "rank",
                "nodes": {"files": "nodes.csv", "unknown": ["?"], "columns": named} | (nodes or {}),
            },
            "task": {"kind": "node_labels", "window": 3} | tables.get("task", {}),
            "model": {"hidden": 8, "head": 8} | tables.get("model", {}),
            "training": {"epochs": 2} | tables.get("training", {}),
            "evaluation": {"baselines": ["majority"]} | tables.get("evaluation", {}),
            "registry": tables.get("registry", {}),
        }
        spec = parse_any(raw, folder=home)
        assert isinstance(spec, GraphSpec)
        return spec

    return make


def read(spec: GraphSpec) -> SnapshotSet:
    return ingest_or_reuse(spec, say=QUIET)[0]


def ready(spec: GraphSpec) -> Prepared:
    return prepare(spec, read(spec))


def stored(home: Path, spec: GraphSpec, work: Trained) -> GraphArtefact:
    """Through its files, without a registry."""
    save_artefact(home / "a", describe_artefact(spec, work.prepared, work.evaluated), work.evaluated.fitted.network)
    return load_artefact(home / "a")


def edit(home: Path, change: pl.Expr) -> None:
    pl.read_csv(home / "nodes.csv").with_columns(change).write_csv(home / "nodes.csv")


def test_a_class_that_hangs_on_the_neighbours_is_learnt_beyond_the_majority(home: Path, make: Make) -> None:
    spec = make(
        model={"layers": 1},
        training={"epochs": 60, "learning_rate": 0.02},
        evaluation={"baselines": ["majority", "gcn", "gcn_gru"]},
    )
    dataset = read(spec)
    work = train(spec, dataset, say=QUIET)
    result = work.evaluated.backtest
    assert sorted(result.scores["model"]) == ["evolvegcn-h", "gcn", "gcn_gru", "majority"]
    share = result.score("majority", "micro_f1")
    assert 0.6 < share < 0.85
    for model in ("evolvegcn-h", "gcn", "gcn_gru"):
        assert result.score(model, "minority_f1") > 0.8, model  # naming it always would score 0.5 or less
        assert result.score(model, "micro_f1") > share + 0.1, model
    assert "(bad, fine, of which bad is the rare one)" in result.protocol

    artefact = stored(home, spec, work)
    frame = predict(artefact, dataset.snapshots)
    assert frame.columns == ["node", "class_bad", "class_fine"]
    last = dataset.snapshots[-1]
    assert frame["node"].to_list() == [dataset.snapshots.names[node] for node in last.nodes.tolist()]
    torch.testing.assert_close(frame["class_bad"].to_torch() + frame["class_fine"].to_torch(), torch.ones(NODES))
    known = last.node_label != UNLABELLED
    right = ((frame["class_bad"].to_torch() > 0.5) == (last.node_label == 0))[known]
    assert right.float().mean() > 0.8
    other = replace(dataset.snapshots, features=("load", "other"))
    with pytest.raises(
        DataError, match="the nodes have the features load, other, but the model was trained on load, n"
    ):
        predict(artefact, other)

    verdict = judge(spec, work.prepared, work.evaluated, artefact, "1")
    assert "it has seen" not in verdict.reason
    assert "minority_f1" in verdict.reason
    assert "no better" in verdict.reason
    renamed = replace(work.prepared, classes=("bad", "good"))
    assert "the classes differs" in judge(spec, renamed, work.evaluated, artefact, "1").reason


@pytest.mark.parametrize("name", ["evolvegcn", "gcn_gru"])
def test_noise_after_the_validation_range_changes_no_weight(home: Path, make: Make, name: str) -> None:
    spec = make(model={"name": name})
    prepared = ready(spec)
    straight = fit(prepared, spec.model, spec.training, folder=home / "a", say=QUIET)
    late = pl.col("time") >= prepared.ranges.validation_end
    all_but_last = late & (pl.col("time") < pl.col("time").max())  # a test range without the rare class is refused
    edit(home, pl.when(all_but_last).then(pl.lit("fine")).otherwise("class").alias("class"))
    edit(home, pl.when(late).then(1e6 * pl.col("noise")).otherwise("load").alias("load"))
    other = ready(spec)
    assert other.dataset_version != prepared.dataset_version
    assert other.schema == prepared.schema
    changed = fit(other, spec.model, spec.training, folder=home / "b", say=QUIET)
    for key, value in straight.network.state_dict().items():
        assert torch.equal(changed.network.state_dict()[key], value), key


def test_validation_decides_on_the_epoch_and_never_on_the_scale(home: Path, make: Make) -> None:
    prepared = ready(make())
    edit(home, pl.when(pl.col("time") >= prepared.ranges.train_end).then(0.0).otherwise("load").alias("load"))
    assert ready(make()).schema.given == prepared.schema.given
    edit(home, pl.when(pl.col("time") >= prepared.ranges.train_end - 1).then(0.0).otherwise("load").alias("load"))
    assert ready(make()).schema.given != prepared.schema.given


def test_nodes_of_unknown_class_are_read_but_are_no_target(make: Make) -> None:
    prepared = ready(make())
    graph, target = prepared.snapshots[4], prepared.labelled(4)
    known = graph.node_label != UNLABELLED
    assert 0 < len(target.label) == int(known.sum()) < len(graph.nodes) == NODES
    assert torch.equal(target.members, graph.nodes[known][None])
    assert torch.equal(target.label, graph.node_label[known])
    spec = make()
    counted = prepared.frames(spec.model, is_local=True)[4].graph.x
    assert len(counted) == NODES + 1  # and one row for all that are not there


def test_nodes_that_training_never_saw_are_judged(make: Make) -> None:
    prepared = ready(make())
    seen = set(torch.cat([graph.nodes for graph in prepared.snapshots[: prepared.ranges.train_end]]).tolist())
    judged = set(torch.cat([prepared.labelled(step).members[0] for step in prepared.ranges.test]).tolist())
    assert len(judged - seen) >= NODES // 5


def test_what_is_read_of_a_node_is_the_models_choice(make: Make) -> None:
    widths = {
        kind: feature_width(make(model={"features": kind}).model, ready(make()).schema)
        for kind in ("auto", "given", "log_degree", "degree")
    }
    assert (widths["auto"], widths["given"], widths["log_degree"]) == (2, 2, 1)
    assert widths["degree"] > 2
    assert feature_width(make().model, ready(make(columns={"features": []})).schema) == widths["degree"]
    links = make(task={"kind": "links"})
    assert feature_width(links.model, ready(links).schema) == 2  # a table of nodes serves the other tasks too


def test_the_outlook_and_the_account_name_classes_and_features(make: Make) -> None:
    dataset = read(make())
    text = outlook(make(), dataset)
    assert "the classes (bad, fine) of the nodes of its last out" in text
    assert "2 of a node (given)" in text
    told = describe(dataset.manifest)
    assert "classes     bad, fine" in told
    assert "features    2 of a node" in told


def test_the_rare_class_is_that_of_training_unless_the_spec_says_so(make: Make) -> None:
    assert ready(make()).minority == 0
    spec = make(task={"minority": "fine"})
    assert ready(spec).minority == 1
    assert usual_weights(ready(spec)) == [0.2, 0.8]
    three = ready(make(nodes={"unknown": []}))
    assert three.classes == ("?", "bad", "fine")
    sizes = [sum(int((g.node_label == k).sum()) for g in three.snapshots[: three.ranges.train_end]) for k in range(3)]
    assert three.minority == sizes.index(min(sizes))
    assert sorted(usual_weights(three)) == [0.2, 0.2, 0.8]


def test_three_classes_are_learnt_too(home: Path, make: Make) -> None:
    spec = make(nodes={"unknown": []}, training={"class_weights": [1, 2, 3]})
    work = train(spec, read(spec), say=QUIET)
    frame = predict(stored(home, spec, work), work.prepared.snapshots)
    assert frame.columns == ["node", "class_?", "class_bad", "class_fine"]


def test_classes_that_will_not_do_are_told(home: Path, make: Make) -> None:
    with pytest.raises(SpecError, match="task.minority: 'worse' is no class of the nodes; allowed: bad, fine"):
        ready(make(task={"minority": "worse"}))
    with pytest.raises(SpecError, match="training.class_weights: 3 numbers for 2 classes: bad, fine"):
        ready(make(training={"class_weights": [1, 1, 1]}))
    with pytest.raises(SpecError, match="in the training steps 0 to 19 are bad; two are needed"):
        ready(make(nodes={"unknown": ["?", "fine"]}))
    with pytest.raises(SpecError, match="in the training steps 0 to 19 are not known; two are needed"):
        ready(make(nodes={"unknown": ["?", "fine", "bad"]}))
    edit(home, pl.when(pl.col("time") >= 23).then(pl.lit("?")).otherwise("class").alias("class"))
    with pytest.raises(SpecError, match="no node has a label in the steps 23 to 29 for test"):
        ready(make())


def test_a_validation_without_a_label_is_told_before_an_epoch_is_run(home: Path, make: Make) -> None:
    first = ready(make()).ranges.train_end
    edit(home, pl.when(pl.col("time") == first).then(pl.lit("?")).otherwise("class").alias("class"))
    spec = make(training={"check_steps": 1})
    with pytest.raises(TrainingError, match="nothing has a class in the steps"):
        fit(ready(spec), spec.model, spec.training, folder=home / "runs", say=QUIET)
