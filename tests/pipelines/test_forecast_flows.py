"""`task.forecast = "flows"` through the whole pipeline: spec, training, backtest, registry, forecast, HTTP, report."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from fastapi.testclient import TestClient

from data.dataset import DataSet
from data.errors import DataError
from pipelines.errors import SpecError
from pipelines.evaluate import backtest
from pipelines.experiment import Trained, enrol, forecast, report, train
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.results import Registered
from pipelines.serve import create_app
from pipelines.spec import Spec, load_spec, parse_spec
from pipelines.tables import score_table

ZONES = ("hill", "lake", "mill", "port")
SPEC = """
name = "pairs"

[data]
kind = "od"
files = "od.csv"
timezone = "Europe/Oslo"

[data.zones]
file = "zones.csv"
id = "zone"
label = "name"
latitude = "lat"
longitude = "lon"

[task]
forecast = "flows"
busiest = 3
window = 12
horizon = 4

[model]
name = "evolvegcn-flows"
hidden = 4
profile = 8

[training]
epochs = 2
learning_rate = 0.01

[evaluation]
baselines = ["naive", "seasonal_naive_day", "historical_mean", "ridge", "gcn"]
stride = 3
"""


@dataclass(frozen=True)
class World:
    spec: Spec
    path: Path
    dataset: DataSet
    trained: Trained
    registered: Registered


def quiet(line: str) -> None:
    pass


def write_world(folder: Path) -> Path:
    """Sixteen days of hourly counts: a wave over the day, more within a zone than between; `hill` hardly counts."""
    clock = pd.date_range("2024-03-01", periods=16 * 24, freq="h")
    draw, rows = np.random.default_rng(0), []
    for i, source in enumerate(ZONES):
        for j, target in enumerate(ZONES):
            level = 0.05 if "hill" in (source, target) else 3 + 4 * (source == target) + i - j
            rate = level * (1 + 0.8 * np.sin(2 * np.pi * (np.arange(len(clock)) + 3 * i) / 24))
            rows.append(pd.DataFrame({"time": clock, "source": source, "target": target, "weight": draw.poisson(rate)}))
    pd.concat(rows).to_csv(folder / "od.csv", index=False)
    places = [f"{zone},The {zone},{59 + i / 10},{10 + i / 10}" for i, zone in enumerate(ZONES)]
    (folder / "zones.csv").write_text("\n".join(["zone,name,lat,lon", *places]))
    (folder / "pairs.toml").write_text(SPEC)
    return folder / "pairs.toml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """In a home of its own: other tests count what is registered in theirs."""
    folder = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOCKCAST_HOME", str(folder / "home"))
        path = write_world(folder)
        spec = load_spec(path)
        dataset = ingest(spec, say=quiet)
        trained = train(spec, dataset, say=quiet)
        registered, _ = enrol(spec, dataset, trained, say=quiet)
        yield World(spec, path, dataset, trained, registered)


def test_the_task_is_every_pair_of_the_busiest_zones(world: World) -> None:
    prepared = world.trained.prepared
    assert sorted(prepared.panel.nodes) == ["lake", "mill", "port"]
    assert prepared.panel.variables == tuple(f"to {node}" for node in prepared.panel.nodes)
    flows = world.dataset.flows
    assert flows is not None
    one = flows.filter((pl.col("source") == "lake") & (pl.col("target") == "port"))
    at = prepared.panel.nodes.index("lake"), prepared.panel.variables.index("to port")
    assert prepared.panel.values[:, *at].sum() == one["weight"].sum()


def test_the_zones_are_chosen_by_the_training_range_alone(world: World) -> None:
    """After it `hill` is as busy as all others together, and still left out."""
    values = world.dataset.panel.values.copy()
    end = world.trained.prepared.ranges.train_end
    values[end:, list(world.dataset.panel.nodes).index("hill")] += 1e6
    later = replace(world.dataset, panel=replace(world.dataset.panel, values=values))
    assert prepare(world.spec, later).panel.nodes == world.trained.prepared.panel.nodes


def test_the_backtest_tells_pairs_and_totals_that_agree(world: World) -> None:
    result = world.trained.evaluated.backtest
    assert set(result.scores["variable"]) == {"all", "outflow", "inflow"}
    ours, truth = result.forecasts[result.model], result.truth
    assert ours.shape[2:] == (3, 3)
    error = np.abs(ours.sum(3) - truth.sum(3)).mean()
    assert result.total(result.model, "mae", "outflow") == pytest.approx(error)
    assert 0 < result.total(result.model, "cpc") < 1
    assert list(result.forecasts) == ["evolvegcn-flows", *world.spec.evaluation.baselines]
    assert result.total(result.model, "mae") < result.total("naive", "mae")


def test_the_table_names_what_is_special_about_flows(world: World) -> None:
    told = score_table(world.trained.evaluated.backtest)
    for part in ("cpc", "outflow", "inflow", "9 flows among 3 nodes", "historical_mean"):
        assert part in told


def test_no_forecast_depends_on_what_comes_after_its_cutoff(world: World, tmp_path: Path) -> None:
    """From one step of the test range on, every flow is another: forecasts from cutoffs before it stay as they were."""
    prepared, spec = world.trained.prepared, world.spec
    changed = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"baselines": ["ridge", "historical_mean", "gcn"]})}
    )
    first = prepared.ranges.validation_end + 20
    flows = world.dataset.flows
    assert flows is not None
    late = pl.col("time") >= prepared.panel.index[first]
    noisy = replace(world.dataset, flows=flows.with_columns(weight=pl.when(late).then(999).otherwise("weight")))
    before = world.trained.evaluated.backtest
    after = backtest(changed, prepare(changed, noisy), folder=tmp_path, say=quiet).backtest
    known = before.cutoffs < prepared.panel.index[first]
    assert 0 < known.sum() < len(known)
    assert np.array_equal(before.forecasts["historical_mean"], after.forecasts["historical_mean"])
    for name in ("evolvegcn-flows", "ridge", "gcn"):
        assert np.array_equal(before.forecasts[name][known], after.forecasts[name][known])
        assert not np.array_equal(before.forecasts[name][~known], after.forecasts[name][~known])


def test_the_yardstick_gcn_is_the_model_on_the_last_step_s_network(world: World, tmp_path: Path) -> None:
    """Variant O by itself, which has no such yardstick, makes the very same forecasts."""
    model = world.spec.model.model_copy(update={"variant": "O"})
    evaluation = world.spec.evaluation.model_copy(update={"baselines": ["gcn"]})
    alone = world.spec.model_copy(update={"model": model, "evaluation": evaluation})
    found = backtest(alone, world.trained.prepared, folder=tmp_path, say=quiet).backtest
    beside = world.trained.evaluated.backtest
    assert list(found.forecasts) == ["evolvegcn-flows-O"]
    assert np.array_equal(found.forecasts["evolvegcn-flows-O"], beside.forecasts["gcn"])
    assert not np.array_equal(beside.forecasts["gcn"], beside.forecasts["evolvegcn-flows"])


def test_the_champion_forecasts_every_pair_from_stored_flows(world: World) -> None:
    frame = forecast(world.spec, world.dataset).frame
    assert len(frame) == 4 * 9
    pair = frame.filter((pl.col("unique_id") == "lake") & (pl.col("variable") == "to port"))
    assert pair["lead_time"].to_list() == [1, 2, 3, 4]
    assert (pair["forecast"] >= 0).all()
    assert pair["q05"].to_list() <= pair["q95"].to_list()


def test_the_command_line_checks_and_forecasts_flows(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from flows.cli import main

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["flockcast", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert not stopped.value.code
        return capsys.readouterr().out

    assert "9 flows among 3 nodes" in call("check", str(world.path))
    assert "evolvegcn-flows" in call("train", str(world.path))
    out = tmp_path / "ahead.parquet"
    call("forecast", str(world.path), "--output", str(out))
    assert len(pl.read_parquet(out)) == 4 * 9


def test_http_answers_from_stored_flows_and_takes_fresh_ones(world: World) -> None:
    with TestClient(create_app()) as app:
        stored = app.post("/v1/forecasts", json={"data_set": "pairs", "nodes": ["lake"], "quantiles": []}).json()
        assert {(row["unique_id"], row["variable"]) for row in stored["forecasts"]} == {
            ("lake", f"to {zone}") for zone in ("lake", "mill", "port")
        }
        fresh = {"unique_id": "lake", "ds": "2024-03-17T00:00", "to lake": 90.0, "to mill": 9.0, "to port": 9.0}
        moved = app.post("/v1/forecasts", json={"data_set": "pairs", "observations": [fresh], "quantiles": []}).json()
        assert moved["cutoff"].startswith("2024-03-17T00:00")
        wrong = app.post(
            "/v1/forecasts", json={"data_set": "pairs", "observations": [{**fresh, "to hill": 1}], "quantiles": []}
        )
        assert "to hill" in wrong.json()["error"]["message"]


def test_the_report_reads_from_a_to_b(world: World, tmp_path: Path) -> None:
    path = report(
        world.spec,
        world.dataset,
        world.trained,
        world.registered,
        forecast(world.spec, world.dataset),
        tmp_path / "report.html",
    )
    page = path.read_text()
    assert "<label>From <select" in page
    assert "to The port" in page
    assert "CPC" in page
    content = json.loads(re.findall(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[0])
    assert {"flow-means", "flow-difference", "flow-pairs", "weights"} <= set(content["figures"])
    assert "Over all pairs" in page
    shown = content["browse"]
    prepared = world.trained.prepared
    node, variable = shown["nodes"].index("The lake"), shown["variables"].index("to The port")
    truth = shown["series"][node][variable]["truth"]
    at = prepared.panel.nodes.index("lake"), prepared.panel.variables.index("to port")
    assert truth == prepared.panel.values[-len(truth) :, *at].tolist()


def test_every_other_model_can_forecast_flows(world: World, tmp_path: Path) -> None:
    raw = world.spec.model_dump(mode="json") | {"model": {"name": "gru", "hidden": 4}}
    spec = parse_spec({**raw, "evaluation": {"baselines": ["historical_mean"]}}, folder=world.spec.folder)
    result = backtest(spec, prepare(spec, world.dataset), folder=tmp_path, say=quiet).backtest
    assert np.isfinite(result.total("gru", "mae", "inflow"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": {"kind": "long", "files": "x.csv"}}, "needs data of kind trips or od, not long"),
        ({"task": {"forecast": "flows", "target": ["inflow"]}}, "task.target chooses among inflow and outflow"),
        ({"task": {}}, "set task.forecast = 'flows'"),
        ({"training": {"compile": True}}, "leave them out"),
        ({"model": {"name": "evolvegcn-flows", "likelihood": "poison"}}, "did you mean 'poisson'"),
    ],
)
def test_a_spec_that_can_not_be_is_refused_with_the_remedy(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    raw = {
        "name": "x",
        "data": {"kind": "od", "files": "x.csv"},
        "task": {"forecast": "flows"},
        "model": {"name": "evolvegcn-flows"},
    }
    with pytest.raises(SpecError) as refused:
        parse_spec(raw | change, folder=tmp_path)
    assert told in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_data_without_flows_and_too_many_zones_are_refused(world: World) -> None:
    with pytest.raises(DataError, match="holds no flows"):
        prepare(world.spec, replace(world.dataset, flows=None))


def test_a_zone_that_left_the_data_asks_for_training_anew(world: World) -> None:
    fewer = replace(world.dataset, panel=world.dataset.panel.choose(["hill", "lake"], ["inflow", "outflow"]))
    with pytest.raises(DataError, match="train anew"):
        forecast(world.spec, fewer)
