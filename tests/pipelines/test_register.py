"""Against a real MLflow store: what is registered can be loaded by MLflow alone, and the best serves."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pytest

from data.dataset import DataSet
from data.errors import DataError
from pipelines.errors import RegistryError
from pipelines.experiment import Trained, enrol, load_champion, train
from pipelines.predict import Predictor, quantile_name
from pipelines.register import logging_to, newest_window, registration_key
from pipelines.registry import client, fetch_forecaster, promote, roll_back, versions
from pipelines.spec import Spec

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def trained(spec: Spec, dataset: DataSet) -> Trained:
    return train(spec, dataset, say=QUIET)


def test_the_life_of_a_registered_model(
    home: Path, waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    """One story, since each MLflow store takes seconds to make."""
    dataset = waves()
    spec = wave_spec(training={"epochs": 6, "learning_rate": 0.01})
    weak = wave_spec(training={"epochs": 1, "learning_rate": 1e-5})
    strong = wave_spec(model={"hidden": 24}, training={"epochs": 30, "learning_rate": 0.01})

    # the first version serves, an equal run is not registered twice
    work = trained(weak, dataset)
    first, reused = enrol(weak, dataset, work, say=QUIET)
    assert (first.version, first.alias, reused) == ("1", "champion", False)
    again, reused = enrol(weak, dataset, trained(weak, dataset), say=QUIET)
    assert (again.version, again.alias, reused) == ("1", "champion", True)

    # a better one takes over, a worse one does not, and both say why with figures
    better, _ = enrol(strong, dataset, trained(strong, dataset), say=QUIET)
    assert better.alias == "champion"
    assert "better (asked: 1.0%)" in better.reason
    middling, _ = enrol(spec, dataset, trained(spec, dataset), say=QUIET)
    assert middling.alias == "challenger"
    assert f"of champion {better.version}" in middling.reason

    # another task can't be compared, whatever its figures
    short = wave_spec(task={"horizon": 2}, training={"epochs": 1})
    other, _ = enrol(short, dataset, trained(short, dataset), say=QUIET)
    assert other.alias == "challenger"
    assert "the horizon differs" in other.reason

    # promotion and roll-back by hand
    promote("waves", middling.version)
    assert load_champion("waves")[1] == middling.version
    roll_back("waves")
    assert load_champion("waves")[1] == better.version
    with pytest.raises(RegistryError, match="has no version 99"):
        promote("waves", "99")
    rows = {row.version: row for row in versions("waves")}
    assert rows[better.version].aliases == ("champion",)
    assert rows[other.version].aliases == ("challenger",)
    assert rows["1"].dataset_version == dataset.manifest.version

    run_is_complete(first.run_id, work)
    # the next experiment of this process chooses its own store
    assert not {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"} & set(os.environ)
    with logging_to(client()):
        mlflow_alone_forecasts_the_same("1", work)
    fresh_observations_are_what_counts(work)


def run_is_complete(run_id: str, work: Trained) -> None:
    store = client()
    run = store.get_run(run_id)
    result = work.evaluated.backtest
    assert run.data.metrics["mae"] == pytest.approx(result.total("gru", "mae"))
    assert run.data.metrics["naive/mae"] == pytest.approx(result.total("naive", "mae"))
    assert [point.step for point in store.get_metric_history(run_id, "mae_by_lead_time")] == [1, 2, 3, 4, 5, 6]
    assert run.data.tags["flockcast.protocol"] == result.protocol
    assert {file.path for file in store.list_artifacts(run_id)} >= {"spec.json", "manifest.json", "environment.txt"}


def mlflow_alone_forecasts_the_same(version: str, work: Trained) -> None:
    model = mlflow.pyfunc.load_model(f"models:/waves/{version}")
    window = newest_window(work.prepared)
    forecast = model.predict(window, params={"horizon": 4, "quantiles": [0.1, 0.9]})
    assert list(forecast.columns) == ["unique_id", "ds", "variable", "lead_time", "forecast", "q10", "q90"]
    assert len(forecast) == 3 * 4
    assert forecast["ds"][0] == (work.prepared.panel.index[-1] + pd.Timedelta("1h")).isoformat()
    assert (forecast["q10"] <= forecast["q90"]).all()

    # the last cutoff of the backtest, forecast through MLflow, is the backtest's own forecast
    shape = work.prepared.shape
    earlier = window.copy()
    panel = work.prepared.panel
    end = len(panel.index) - shape.horizon
    earlier["y"] = panel.values[end - shape.window : end, :, 0].T.ravel()
    earlier["ds"] = np.tile([time.isoformat() for time in panel.index[end - shape.window : end]], 3)
    served = model.predict(earlier)["forecast"].to_numpy().reshape(3, 6).T
    assert served == pytest.approx(work.evaluated.backtest.forecasts["gru"][-1, :, :, 0], rel=1e-6)

    files = [file.name for file in fetch_forecaster(client(), client().get_model_version("waves", version)).rglob("*")]
    assert sorted(files) == ["calibration.safetensors", "config.json", "weights.safetensors"]
    downloaded = Path(mlflow.artifacts.download_artifacts(f"models:/waves/{version}"))
    names = {file.name for file in downloaded.rglob("*") if file.is_file()}
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))}
    assert {name for name in names if name.endswith(".py")} == {"served_model.py"}


def fresh_observations_are_what_counts(work: Trained) -> None:
    predictor, _ = load_champion("waves")
    window = pl.from_pandas(newest_window(work.prepared)).with_columns(pl.col("y").fill_nan(None))
    naive_times = window.with_columns(pl.col("ds").str.slice(0, 19))
    assert predictor.forecast(naive_times).equals(predictor.forecast(window))
    assert predictor.forecast(window.sample(fraction=1, shuffle=True, seed=0)).equals(predictor.forecast(window))
    higher = predictor.forecast(window.with_columns(pl.col("y") + 10))
    assert (higher["forecast"] - predictor.forecast(window)["forecast"]).abs().min() > 0
    unchanged = predictor.forecast_panel(work.prepared.panel)
    assert unchanged.equals(predictor.forecast(window))
    wrong_input_is_told(predictor, window)


def wrong_input_is_told(predictor: Predictor, window: pl.DataFrame) -> None:
    for told, call in {
        "lack the column 'y'": lambda: predictor.forecast(window.drop("y")),
        "unknown unique_id 'zz'": lambda: predictor.forecast(window.with_columns(unique_id=pl.lit("zz"))),
        "horizon 7 is out of reach: this model forecasts 1 to 6 steps": lambda: predictor.forecast(window, horizon=7),
        "unknown node 'zz'": lambda: predictor.forecast(window, nodes=["zz"]),
        "quantile 0.999 is out of reach": lambda: predictor.forecast(window, quantiles=[0.999]),
        "two rows for 'n0'": lambda: predictor.forecast(pl.concat([window, window.head(1)])),
        "can't read the time 'soon'": lambda: predictor.forecast(window.with_columns(ds=pl.lit("soon"))),
        "observations are empty": lambda: predictor.forecast(window.clear()),
        "no observation in the window": lambda: predictor.forecast(window.with_columns(y=pl.lit(None, pl.Float64))),
    }.items():
        with pytest.raises(DataError, match=told):
            call()


def test_a_store_that_cannot_be_reached_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match=r"http://127\.0\.0\.1:9 can't be reached"):
        client("http://127.0.0.1:9")


@pytest.mark.parametrize(("quantile", "name"), [(0.05, "q05"), (0.5, "q50"), (0.975, "q975"), (0.9, "q90")])
def test_the_columns_of_quantiles(quantile: float, name: str) -> None:
    assert quantile_name(quantile) == name


def test_what_becomes_counts_is_registered_anew(wave_spec: Callable[..., Spec]) -> None:
    """The weights are the same; the forecasts of counts stop at zero, so that the version is another."""
    real = wave_spec()
    same: Any = SimpleNamespace(fitted=SimpleNamespace(key="k", protection=None), is_internal=False)
    counts = real.model_copy(update={"data": real.data.model_copy(update={"values": "counts"})})
    assert registration_key(real, same) != registration_key(counts, same)
