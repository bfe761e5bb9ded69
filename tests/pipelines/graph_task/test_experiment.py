"""From a spec to a forecast, on a real MLflow store."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from data.snapshot_store import SnapshotSet
from models.link_memory import LinkMemory
from models.negatives import Negatives
from pipelines.errors import RegistryError, SpecError
from pipelines.graph_task import train as training
from pipelines.graph_task.artefact import GraphArtefact, describe_artefact, load_artefact, save_artefact
from pipelines.graph_task.evaluate import by_rules, judge_classes, judge_links
from pipelines.graph_task.experiment import Trained, enrol, forecast, outlook, train
from pipelines.graph_task.ingest import ingest_or_reuse
from pipelines.graph_task.measure import POWERS, choose_power, link_figure
from pipelines.graph_task.predict import predict
from pipelines.graph_task.prepare import Labelled, prepare
from pipelines.graph_task.report.page import page
from pipelines.graph_task.spec import GraphSpec
from pipelines.graph_task.train import fit, new_network, training_key
from pipelines.link_metrics import mean_over_steps
from pipelines.registry import client, fetch_forecaster, require_kind, versions
from pipelines.serving.champions import all_versions, load
from pipelines.serving.failures import Refusal

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
Make = Callable[..., GraphSpec]


def stored(home: Path, spec: GraphSpec, work: Trained) -> GraphArtefact:
    """Through its files, without a registry."""
    save_artefact(home / "a", describe_artefact(spec, work.prepared, work.evaluated), work.evaluated.fitted.network)
    return load_artefact(home / "a")


def test_the_life_of_a_link_model(home: Path, graph_spec: Make) -> None:
    """One story, since each MLflow store takes seconds to make."""
    weak = graph_spec(training={"epochs": 1, "learning_rate": 1e-6}, task={"top": 7})
    strong = graph_spec(model={"pair_memory": True}, training={"epochs": 12}, task={"top": 7})
    dataset, reused = ingest_or_reuse(weak, say=QUIET)
    assert not reused
    assert ingest_or_reuse(strong, say=QUIET)[1]

    work = train(weak, dataset, say=QUIET)
    first, known = enrol(weak, dataset, work, say=QUIET)
    assert (first.version, first.alias, known) == ("1", "champion", False)
    assert enrol(weak, dataset, train(weak, dataset, say=QUIET), say=QUIET) == (first, True)

    better = train(strong, dataset, say=QUIET)
    second, _ = enrol(strong, dataset, better, say=QUIET)
    assert second.alias == "champion"
    assert "of champion 1 on the same steps" in second.reason
    worse = graph_spec(training={"epochs": 1, "learning_rate": 2e-6}, task={"top": 7})
    third, _ = enrol(worse, dataset, train(worse, dataset, say=QUIET), say=QUIET)
    assert third.alias == "challenger"

    store = client()
    files = fetch_forecaster(store, store.get_model_version("friends", "2"))
    assert sorted(file.name for file in files.iterdir()) == ["config.json", "weights.safetensors"]
    found = forecast(strong, dataset)
    assert (found.model, found.version) == ("evolvegcn-h+memory", "2")
    assert found.frame.equals(predict(load_artefact(files), dataset.snapshots))
    assert len(found.frame) == 7
    assert "version 2 of <strong>friends</strong>" in page(strong, dataset, better, second, found)

    assert [row.version for row in versions()] == ["3", "2", "1"]
    assert all_versions() == []  # no HTTP service forecasts graphs


def test_a_forecast_lists_pairs_that_were_never_linked_the_best_first(home: Path, graph_spec: Make) -> None:
    spec = graph_spec(task={"top": 50})
    dataset, _ = ingest_or_reuse(spec, say=QUIET)
    frame = predict(stored(home, spec, train(spec, dataset, say=QUIET)), dataset.snapshots)
    names = dataset.snapshots.names
    linked = {(names[u], names[v]) for graph in dataset.snapshots for u, v in graph.nodes[graph.edge_index].T.tolist()}
    found = list(zip(frame["source"], frame["target"], strict=True))
    possible = {frozenset((u, v)) for u in names for v in names if u != v and (u, v) not in linked}
    assert len({frozenset(pair) for pair in found}) == len(found) == min(50, len(possible))  # each once, either way
    assert {frozenset(pair) for pair in found} <= possible
    assert frame["score"].is_sorted(descending=True)


def test_classes_of_edges_go_the_same_way(home: Path, graph_spec: Make, friends: SnapshotSet) -> None:
    spec = graph_spec(task={"kind": "edge_labels"}, training={"epochs": 20})
    work = train(spec, friends, say=QUIET)
    scores = work.evaluated.backtest.scores
    assert scores["model"].to_list() == ["evolvegcn-h", "majority"]
    assert work.evaluated.backtest.score("evolvegcn-h", "minority_f1") > 0.5  # by chance it would be 0.4 or less
    frame = predict(stored(home, spec, work), friends.snapshots)
    assert frame.columns == ["source", "target", "class_0", "class_1"]
    assert len(frame) == friends.snapshots[-1].edge_index.shape[1]
    torch.testing.assert_close(frame["class_0"].to_torch() + frame["class_1"].to_torch(), torch.ones(len(frame)))


def test_the_outlook_names_the_ranges(graph_spec: Make, friends: SnapshotSet) -> None:
    lines = outlook(graph_spec(task={"kind": "edge_labels"}), friends)
    assert "evolvegcn-h: 3 steps of 100s in" in lines
    assert "training    steps 2 to 19" in lines


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"variant": "O", "rnn": "lstm", "remedy": "residual", "root": True, "skip": True},
        {"variant": "H", "policy": "carry", "pair_memory": True},
        {"variant": "H", "pair_memory": True, "stacked": True},
        {"name": "gcn", "symmetric": True},
        {"name": "gcn_gru", "features": "log_degree"},
    ],
    ids=str,
)
def test_a_killed_training_goes_on_to_the_same_weights(
    home: Path, graph_spec: Make, friends: SnapshotSet, model: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = graph_spec(model=model, training={"epochs": 4})
    prepared = prepare(spec, friends)
    straight = fit(prepared, spec.model, spec.training, folder=home / "straight", say=QUIET)

    class Killed(BaseException):
        pass

    real = training.save_progress
    saved = []

    def save_twice(*arguments: object) -> None:
        if len(saved) == 2:
            raise Killed
        saved.append(None)
        real(*arguments)

    monkeypatch.setattr(training, "save_progress", save_twice)
    with pytest.raises(Killed):
        fit(prepared, spec.model, spec.training, folder=home / "killed", say=QUIET)
    monkeypatch.setattr(training, "save_progress", real)
    said: list[str] = []
    resumed = fit(prepared, spec.model, spec.training, folder=home / "killed", say=said.append)
    assert "taking up at epoch 3" in said[0]
    for name, value in straight.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[name], value), name
    assert resumed.history.epochs.drop("seconds").equals(straight.history.epochs.drop("seconds"))
    again = fit(prepared, spec.model, spec.training, folder=home / "killed", say=said.append)
    assert again.reused
    assert all(torch.equal(again.network.state_dict()[n], v) for n, v in straight.network.state_dict().items())


def test_a_damaged_run_is_trained_anew(home: Path, graph_spec: Make, friends: SnapshotSet) -> None:
    spec = graph_spec()
    prepared = prepare(spec, friends)
    first = fit(prepared, spec.model, spec.training, folder=home / "runs", say=QUIET)
    (home / "runs" / f"evolvegcn-{first.key}" / "weights.safetensors").write_bytes(b"damaged")
    assert not fit(prepared, spec.model, spec.training, folder=home / "runs", say=QUIET).reused


@pytest.mark.parametrize(
    ("memory", "sampling", "metric"),
    [
        ({}, "uniform", "map"),
        ({}, "smart", "map"),
        ({}, "smart", "mrr"),
        ({"pair_memory": True}, "smart", "map"),
        ({"pair_memory": True, "stacked": True}, "smart", "map"),
        ({"pair_memory": True, "stacked": True}, "smart", "mrr"),
    ],
    ids=str,
)
@pytest.mark.parametrize("policy", ["reset", "carry"])
def test_what_comes_after_the_validation_range_changes_no_weight(
    home: Path, graph_spec: Make, policy: str, memory: dict, sampling: str, metric: str
) -> None:
    """The first test target is the first step that training must not see: neither its links, nor its new nodes."""
    spec = graph_spec(
        model={"policy": policy, **memory},
        training={"sampling": sampling, "epochs": 4},
        registry={"metric": metric},
    )
    dataset, _ = ingest_or_reuse(spec, say=QUIET)
    prepared = prepare(spec, dataset)
    straight = fit(prepared, spec.model, spec.training, folder=home / "a", say=QUIET)
    last_seen = prepared.ranges.validation_end  # the target of the last validation sample
    rows = pl.read_csv(home / "edges.csv")
    late = pl.col("time") > 1_000_000_000 + 100 * last_seen
    noise = rows.with_columns(pl.when(late).then(pl.lit("a stranger")).otherwise("source").alias("source"))
    assert not noise.equals(rows)
    noise.write_csv(home / "edges.csv")
    other, _ = ingest_or_reuse(spec, say=QUIET)
    assert other.manifest.version != dataset.manifest.version
    changed = fit(prepare(spec, other), spec.model, spec.training, folder=home / "b", say=QUIET)
    scores = (each.history.epochs["validation_score"].to_list() for each in (straight, changed))
    assert next(scores) == next(scores)
    for name, value in straight.network.state_dict().items():
        assert torch.equal(changed.network.state_dict()[name], value), name


def test_pairs_without_a_link_are_drawn_anew_in_every_epoch(
    home: Path, graph_spec: Make, friends: SnapshotSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    real = training.smart_negatives

    def noted(*arguments: torch.Tensor, multiplier: int, generator: torch.Generator) -> Negatives:
        seeds.append(generator.initial_seed())
        return real(*arguments, multiplier=multiplier, generator=generator)

    monkeypatch.setattr(training, "smart_negatives", noted)
    spec = graph_spec(training={"epochs": 2})
    fit(prepare(spec, friends), spec.model, spec.training, folder=home / "runs", say=QUIET)
    assert len(seeds) == len(set(seeds)) == 2 * len(prepare(spec, friends).ranges.training)


def test_a_name_is_of_series_or_of_a_graph_and_not_of_both(home: Path, graph_spec: Make, friends: SnapshotSet) -> None:
    spec = graph_spec()
    enrol(spec, friends, train(spec, friends, say=QUIET), say=QUIET)
    store = client()
    with pytest.raises(RegistryError, match="registered as a model of graphs; give registry.model another name"):
        require_kind(store, "friends", is_graph=False)
    with pytest.raises(RegistryError, match="tells links and the spec asks for edge_labels"):
        forecast(graph_spec(task={"kind": "edge_labels"}), friends)
    with pytest.raises(Refusal, match="forecast with `flockcast forecast`"):
        load("friends")
    assert [row.score.split()[0] for row in versions("friends")] == ["MAP"]


def test_a_range_without_anything_to_tell_is_refused_before_training(home: Path, graph_spec: Make) -> None:
    rows = pl.read_csv(home / "edges.csv")
    good = rows.with_columns(rating=pl.when(pl.col("time") > 1_000_002_000).then(1).otherwise("rating"))
    good.write_csv(home / "edges.csv")
    spec = graph_spec(task={"kind": "edge_labels"})
    dataset, _ = ingest_or_reuse(spec, say=QUIET)
    with pytest.raises(SpecError, match="the test range has nothing of class 0, the rare one"):
        prepare(spec, dataset)


def test_class_weights_must_weigh_something(graph_spec: Make) -> None:
    with pytest.raises(SpecError, match="class_weights: .*0 or more"):
        graph_spec(training={"class_weights": [-1.0, 1.0]})


def test_a_stacked_network_is_never_behind_the_rule_in_validation(home: Path, graph_spec: Make) -> None:
    spec = graph_spec(model={"pair_memory": True, "stacked": True}, training={"epochs": 3})
    dataset, _ = ingest_or_reuse(spec, say=QUIET)
    prepared = prepare(spec, dataset)
    fitted = fit(prepared, spec.model, spec.training, folder=home / "runs", say=QUIET)
    frames, validation = prepared.frames(spec.model, is_local=True), prepared.ranges.validation
    reached = link_figure(fitted.network, frames, prepared, validation)
    assert reached == fitted.history.epochs["validation_score"].max()
    found = {}
    for power in POWERS:
        fitted.network.power.fill_(power)
        found[power] = link_figure(fitted.network, frames, prepared, validation)
    assert reached == max(found.values())
    rule = mean_over_steps(by_rules(prepared, validation, ["repeat_and_activity"])["repeat_and_activity"])
    assert found[0] == pytest.approx(rule.mean_average_precision, abs=1e-12)


@pytest.mark.parametrize(
    ("task", "metric"),
    [("links", "map"), ("links", "mrr"), ("edge_labels", "minority_f1"), ("edge_labels", "micro_f1")],
)
def test_the_epoch_is_chosen_by_what_versions_are_judged_by(
    task: str, metric: str, home: Path, graph_spec: Make
) -> None:
    """All nodes are known before the test, so validation is judged as the test is."""
    told: list[str] = []
    spec = graph_spec(task={"kind": task}, training={"epochs": 4}, registry={"metric": metric})
    prepared = prepare(spec, ingest_or_reuse(spec, say=QUIET)[0])
    fitted = fit(prepared, spec.model, spec.training, folder=home / "runs", say=told.append)
    best = fitted.history.epochs["validation_score"].max()
    frames = prepared.frames(spec.model, is_local=fitted.network.is_local)
    judge_all = judge_links if task == "links" else judge_classes
    found, _ = judge_all({"ours": (fitted.network, frames)}, prepared, [], prepared.ranges.validation)
    assert best == pytest.approx(found[metric][0], abs=1e-9)
    others = {"map", "mrr", "minority_f1", "micro_f1"} & set(found.columns) - {metric}
    assert all(best != pytest.approx(found[other][0], abs=1e-3) for other in others)
    assert {"map": "MAP", "mrr": "MRR", "minority_f1": "F1 of the rare", "micro_f1": "micro F1"}[metric] in told[0]


def test_another_metric_is_another_training(home: Path, graph_spec: Make) -> None:
    by_map, by_mrr = (graph_spec(registry={"metric": metric}) for metric in ("map", "mrr"))
    dataset, _ = ingest_or_reuse(by_map, say=QUIET)
    keys = {training_key(prepare(spec, dataset), spec.model, spec.training) for spec in (by_map, by_mrr, graph_spec())}
    assert len(keys) == 2  # links are judged by MAP where nothing else is said


def test_a_stacked_network_keeps_its_power_in_its_files(home: Path, graph_spec: Make) -> None:
    spec = graph_spec(model={"pair_memory": True, "stacked": True}, task={"top": 9})
    dataset, _ = ingest_or_reuse(spec, say=QUIET)
    work = train(spec, dataset, say=QUIET)
    network = work.evaluated.fitted.network
    network.power.fill_(0.3)  # whatever validation chose
    artefact = stored(home, spec, work)
    assert float(artefact.network.power) == 0.3
    frame = predict(artefact, dataset.snapshots)
    network.power.fill_(0.0)
    assert not predict(stored(home, spec, work), dataset.snapshots).equals(frame)
    assert frame["score"].is_between(0, 1).all()


def test_a_stacked_network_learns_from_the_pairs_that_were_seen_and_did_not_come_again() -> None:
    memory = LinkMemory(4)
    memory.update(torch.tensor([[0, 1, 2], [1, 0, 3]]))
    target = Labelled(torch.tensor([[0, 1], [1, 3]]), torch.tensor([1, 0]))
    found = training.with_seen(target, memory)
    assert found.members.T.tolist() == [[0, 1], [1, 3], [1, 0], [2, 3], [3, 2]]
    assert found.label.tolist() == [1, 0, 0, 0, 0]


def test_odds_that_mislead_get_the_power_zero(home: Path, graph_spec: Make) -> None:
    spec = graph_spec(model={"pair_memory": True, "stacked": True})
    prepared = prepare(spec, ingest_or_reuse(spec, say=QUIET)[0])
    network = new_network(prepared, spec.model).eval()
    with torch.no_grad():  # the log-odds are minus 9 times log(1 + repeat), the first feature of a pair
        for part in network.head.parameters():
            part.zero_()
        network.head.first.weight[0, -network.head.features] = 1
        network.head.last.weight[1, 0] = -9
    frames = prepared.frames(spec.model, is_local=True)
    reached = choose_power(network, frames, prepared, prepared.ranges.validation)
    rule = mean_over_steps(
        by_rules(prepared, prepared.ranges.validation, ["repeat_and_activity"])["repeat_and_activity"]
    )
    assert float(network.power) == 0
    assert reached == pytest.approx(rule.mean_average_precision, abs=1e-12)
