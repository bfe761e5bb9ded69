"""ReGENN in the pipeline: its graph sees the training range alone, and what it learned can be looked at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric

from data.dataset import DataSet
from data.panel import Panel
from pipelines.artefact import describe_artefact, load_artefact, save_artefact
from pipelines.errors import SpecError
from pipelines.evaluate import backtest
from pipelines.experiment import enrol, train
from pipelines.explain import explain, relation_metrics, relation_table
from pipelines.predict import Predictor
from pipelines.prepare import prepare
from pipelines.registry import client
from pipelines.results import Explanation
from pipelines.spec import Spec
from pipelines.train import fit, new_network

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731


@pytest.fixture(scope="module")
def led(waves: Callable[..., DataSet]) -> DataSet:
    """Four variables of noise at eight nodes; `follower` is what `leader` was two steps before."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(400, 8, 4))
    values[2:, :, 1] = values[:-2, :, 0] + 0.1 * values[2:, :, 1]
    names = tuple(f"n{i}" for i in range(8))
    panel = Panel(
        values=values,
        mask=np.ones_like(values, dtype=bool),
        index=pd.date_range("2024-01-01", periods=400, freq="h", tz="UTC"),
        nodes=names,
        variables=("leader", "follower", "this", "that"),
        interval="1h",
        static=pl.DataFrame({"node": list(names)}),
    )
    return replace(waves(), panel=panel)


@pytest.fixture(scope="module")
def spec(wave_spec: Callable[..., Spec]) -> Spec:
    return wave_spec(
        task={"window": 6, "horizon": 2},
        model={"name": "regenn", "hidden": None, "encoder": 8, "dropout": 0.0, "predict": "value"},
        training={"epochs": 15, "learning_rate": 0.01},
        evaluation={"baselines": ["naive"]},
    )


def test_a_planted_lead_is_among_the_strongest_relations(led: DataSet, spec: Spec, tmp_path: Path) -> None:
    prepared = prepare(spec, led)
    fitted = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    explanation = explain(prepared, fitted)
    assert explanation is not None
    top = relation_table(explanation, 3)
    assert ("follower", "leader") in list(zip(top["variable"], top["takes_of"], strict=True))
    assert len(explanation.source) == len(fitted.history.epochs)
    again = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
    assert again.reused
    assert torch.equal(again.relations, fitted.relations)


def test_a_registered_run_has_the_relations_of_every_epoch(
    led: DataSet, spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    trained = train(spec, led, say=QUIET)
    registered, _ = enrol(spec, led, trained, say=QUIET)
    explanation, store = explain(trained.prepared, trained.evaluated.fitted), client()
    assert explanation is not None
    layers = trained.evaluated.fitted.relations
    assert layers is not None

    logged = pl.read_parquet(store.download_artifacts(registered.run_id, "relations_by_epoch.parquet", str(tmp_path)))
    assert logged.columns == ["epoch", "variable", "takes_of", "source", "target", "through"]
    assert logged.height == len(layers) * 4 * 4
    for epoch in (0, explanation.best_epoch):
        source, target = layers[epoch].numpy()
        row = logged.filter(epoch=epoch, variable="follower", takes_of="leader").row(0, named=True)
        assert row["source"] == source[1, 0]
        assert row["target"] == target[1, 0]
        assert row["through"] == pytest.approx((target @ source)[1, 0], rel=1e-5)

    strongest = relation_table(explanation, 5)
    courses = sorted(name for name in store.get_run(registered.run_id).data.metrics if name.startswith("relation_"))
    assert courses == [
        f"relation_{rank}/{row['variable']} takes of {row['takes_of']}"
        for rank, row in enumerate(strongest.iter_rows(named=True), start=1)
    ]
    drawn = {point.step: point.value for point in store.get_metric_history(registered.run_id, courses[0])}
    assert sorted(drawn) == list(range(len(layers)))
    assert drawn[explanation.best_epoch] == pytest.approx(strongest["through"][0])
    any_name_is_a_metric(store, registered.run_id, explanation)


def any_name_is_a_metric(store: MlflowClient, run_id: str, explanation: Explanation) -> None:
    hostile = replace(explanation, variables=("../a/b", "x:y\n%", "Gjøvik " + 300 * "ø", ""))
    metrics = [Metric(name, value, 0, step) for name, value, step in relation_metrics(hostile, 12)]
    store.log_batch(run_id, metrics=metrics)
    found = {name for name in store.get_run(run_id).data.metrics if name.startswith("relation_")}
    assert {metric.key for metric in metrics} <= found
    assert len({metric.key for metric in metrics}) == 12


def test_the_graph_sees_the_training_range_alone(led: DataSet, spec: Spec) -> None:
    before = prepare(spec, led)
    values = led.panel.values.copy()
    values[before.ranges.train_end :] = 1e4
    after = prepare(spec, replace(led, panel=replace(led.panel, values=values)))
    graphs = [new_network(task, spec.model, task.ranges.train_end).network.graph for task in (before, after)]
    assert torch.equal(*graphs)
    early = values.copy()
    early[: before.ranges.train_end, 0, 0] += 5
    changed = prepare(spec, replace(led, panel=replace(led.panel, values=early)))
    assert not torch.equal(graphs[0], new_network(changed, spec.model, before.ranges.train_end).network.graph)


def test_a_saved_regenn_forecasts_as_the_trained_one(led: DataSet, spec: Spec, tmp_path: Path) -> None:
    prepared = prepare(spec, led)
    evaluated = backtest(spec, prepared, folder=tmp_path / "runs", say=QUIET)
    save_artefact(tmp_path / "artefact", describe_artefact(spec, prepared, evaluated), evaluated)
    artefact = load_artefact(tmp_path / "artefact")
    assert torch.equal(artefact.network.network.graph, evaluated.fitted.network.network.graph)
    assert Predictor(artefact).forecast_panel(led.panel).height == 8 * 4 * 2


def test_a_single_series_has_no_graph(waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]) -> None:
    spec = wave_spec(model={"name": "regenn", "hidden": None})
    prepared = prepare(spec, waves(nodes=1))
    with pytest.raises(SpecError, match="at least 2 variables"):
        new_network(prepared, spec.model, prepared.ranges.train_end)
    prepared = prepare(spec, waves(nodes=3))
    assert new_network(prepared, spec.model, prepared.ranges.train_end).network.graph.shape == (3, 3)
