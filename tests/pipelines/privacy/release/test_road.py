"""The whole road on released counts: trips, bounded counts, release, models, forecasts; one spend for all of it."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data import store
from pipelines.errors import RegistryError
from pipelines.experiment import Trained, enrol, forecast, output_folder, report, train
from pipelines.ingest import ingest, ingest_or_reuse
from pipelines.predict import Predictor
from pipelines.prepare import prepare
from pipelines.privacy.claim import Protection
from pipelines.registry import client, fetch_forecaster
from pipelines.settings import datasets


def quietly(line: str) -> None:
    pass


def spends(ledger) -> list[tuple[str, ...]]:
    return [run.blocks for run in ledger.standing()[0].runs if run.state == "committed"]


DAYS = tuple(f"2024-03-{day:02}" for day in range(4, 18))


def test_from_trips_to_a_forecast_and_ten_retrainings_each_day_is_charged_once(make, grant):
    ledger = grant()
    for seed in range(11):
        spec = make(training={"seed": seed}, task={"stride": 8}, evaluation={"stride": 8})
        dataset, reused = ingest_or_reuse(spec, say=quietly)
        assert reused == (seed > 0)
        trained = train(spec, dataset, say=quietly)
    registered, _ = enrol(spec, dataset, trained, say=quietly)
    found = forecast(spec, dataset)
    assert len(found.frame) == 4 * 2 * 2
    assert spends(ledger) == [DAYS]
    protection = Protection.from_json(dataset.manifest.release.protection)
    assert protection.serving == "released_input"
    of_ledger(ledger, protection, dataset.manifest.version)
    of_registry(registered, protection)
    of_report(report(spec, dataset, trained, registered, found, output_folder(spec, dataset) / "report.html"))


def of_ledger(ledger, protection: Protection, version: str) -> None:
    """The commit that the protection names is there, and of what is stored."""
    commit = ledger.entries(run_id=protection.run_id, type="commit")[0]
    assert (commit.seq, commit.hash) == (protection.ledger_seq, protection.ledger_hash)
    assert commit.get("artifact_hash") == version
    assert ledger.verify().flaw is None


def of_registry(registered, protection: Protection) -> None:
    """Run, version and config say what is promised, and nothing of how many rows there were."""
    registry = client()
    version = registry.get_model_version(registered.name, registered.version)
    run = registry.get_run(registered.run_id)
    assert protection.tags.items() <= version.tags.items()
    assert protection.tags.items() <= run.data.tags.items()
    config = Predictor.load(fetch_forecaster(registry, version)).config
    assert Protection.from_json(json.dumps(config.protection)) == protection
    manifest = json.loads(_artifact(registered, "manifest.json"))
    assert (manifest["rows_read"], manifest["rejected"], manifest["notes"]) == (0, {}, {})


def _artifact(registered, path: str) -> str:
    return Path(client().download_artifacts(registered.run_id, path)).read_text()


def of_report(page) -> None:
    text = page.read_text()
    assert "Protects one person&#39;s data of one day" in text or "Protects one person's data of one day" in text
    assert "5,600" not in text, "the number of trips"


def test_without_its_ledger_entry_no_model_is_registered(make, grant, home, monkeypatch):
    grant()
    spec = make()
    dataset = ingest(spec, say=quietly)
    trained = train(spec, dataset, say=quietly)
    monkeypatch.setenv("FLOCKCAST_LEDGER", f"sqlite:///{home}/another.db")
    with pytest.raises(RegistryError, match="has no entry"):
        enrol(spec, dataset, trained, say=quietly)
    assert not client().search_model_versions("name = 'riders'")


def test_signed_counts_stay_signed_and_the_noise_is_known_to_the_task(make, grant):
    grant()
    spec = make()
    dataset = ingest(spec, say=quietly)
    prepared = prepare(spec, dataset)
    assert (prepared.panel.values < 0).any()
    assert not prepared.is_count
    assert prepared.shape.output == "Identity"
    assert prepared.noise_variance == pytest.approx((5.64**2, 5.64**2), rel=0.01)
    assert "the noise has a standard deviation of 5.64 in inflow" in prepared.notes[-1]


def test_released_flows_are_forecast_and_their_sums_are_the_panel(make, grant):
    grant()
    spec = make(
        task={"window": 24, "horizon": 2, "forecast": "flows", "busiest": 3}, evaluation={"baselines": ["ridge"]}
    )
    dataset = ingest(spec, say=quietly)
    release = dataset.manifest.release
    assert release.variance["outflow"] == pytest.approx(4 * release.variance["flow"])
    outflow = dataset.flows.group_by("time", "source").agg(pl.col("weight").sum())
    at = dataset.panel.index.get_indexer(outflow["time"].to_pandas())
    nodes = [dataset.panel.nodes.index(name) for name in outflow["source"]]
    np.testing.assert_array_equal(dataset.panel.values[at, nodes, 1], outflow["weight"])
    result = train(spec, dataset, say=quietly).evaluated.backtest
    assert result.are_flows
    assert np.isfinite(result.total(result.model, "rmse"))


def test_a_graph_is_made_of_flows_that_stand_out_of_the_noise(make, grant):
    grant()
    spec = make(model={"name": "gcn", "graph": "flows", "hidden": 4})
    dataset = ingest(spec, say=quietly)
    assert dataset.links["weight"].min() > 2 * dataset.manifest.release.variance["flow"] ** 0.5
    assert len(dataset.links) < len(dataset.flows) / 5
    assert isinstance(train(spec, dataset, say=quietly), Trained)


def test_a_model_of_a_release_is_never_fed_the_raw_data_set_of_the_same_name(make, grant):
    grant(allow_nonprivate_internal=True)
    spec = make()
    dataset = ingest(spec, say=quietly)
    registered, _ = enrol(spec, dataset, train(spec, dataset, say=quietly), say=quietly)
    version = client().get_model_version(registered.name, registered.version)
    predictor = Predictor.load(fetch_forecaster(client(), version))
    raw = ingest(spec.model_copy(update={"privacy": None}), say=quietly)
    newest = store.manifests(datasets(), "riders")
    assert newest[0].version == raw.manifest.version
    assert [predictor.may_read(manifest) for manifest in newest] == [False, True]
