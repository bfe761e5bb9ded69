"""Where a forecast of a private model may go, and what it says of itself, by every way that it leaves."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import polars as pl
import pytest
from fastapi.testclient import TestClient
from mlflow.exceptions import MlflowException

from data import store
from pipelines.errors import ServingRefused, StoreError
from pipelines.experiment import forecast, save_forecast
from pipelines.privacy.access import Access, access_log, log_access
from pipelines.privacy.claim import Protection
from pipelines.privacy.serving import RAW, RELEASED, SENT
from pipelines.register import newest_window
from pipelines.serve import create_app
from pipelines.settings import datasets

Make = Callable[[Protection], Any]
FRESH = [{"unique_id": "north", "ds": "2024-03-20T23:00", "y": 4321}]


def ask(**wanted: Any) -> tuple[int, dict[str, Any]]:
    with TestClient(create_app(), raise_server_exceptions=False) as app:
        response = app.post("/v1/forecasts", json={"data_set": "tiny", **wanted})
    return response.status_code, response.json()


def accesses() -> list[dict[str, Any]]:
    return [json.loads(line) for line in access_log().read_text().splitlines()] if access_log().exists() else []


# ---------------------------------------------------------------- from a release


def test_a_forecast_from_a_release_is_marked_released_may_go_anywhere_and_is_not_logged(
    private: Make, released: Protection, tmp_path: Path
) -> None:
    world = private(released)
    file = save_forecast(forecast(world.spec, world.dataset), tmp_path / "elsewhere.parquet")
    assert pl.read_parquet_metadata(file)["flockcast.privacy.mark"] == RELEASED
    status, answer = ask()
    assert status == 200
    assert answer["privacy"] == {
        "input": "released",
        "mark": RELEASED,
        "exportable": True,
        "claim": released.claim.sentence,
    }
    assert accesses() == []


def test_a_forecast_from_a_release_that_promises_less_than_the_training_says_so(
    private: Make, released: Protection
) -> None:
    world = private(released)
    weaker = replace(released, claim=replace(released.claim, epsilon=8.0))
    release = replace(world.dataset.manifest.release, protection=weaker.to_json())
    dataset = replace(world.dataset, manifest=replace(world.dataset.manifest, release=release))
    mark = forecast(world.spec, dataset).mark
    assert mark is not None
    assert mark.claim == f"{released.claim.sentence}. The newest counts are of another release: {weaker.claim.sentence}"


def test_stored_data_that_are_no_release_are_not_served_as_one(private: Make, released: Protection) -> None:
    """Newer data may have been ingested without [privacy]; the model is the same, its forecasts would be raw."""
    world = private(released)
    raw = replace(world.dataset, manifest=replace(world.dataset.manifest, release=None))
    store.save(raw, datasets())
    with pytest.raises(ServingRefused, match=r"is no release; ingest the newest data with mechanism = 'release'"):
        forecast(world.spec, raw)
    status, answer = ask()
    assert (status, answer["error"]["code"]) == (422, "raw_input_refused")


def test_a_server_that_runs_sees_that_the_stored_data_are_no_release_any_more(
    private: Make, released: Protection
) -> None:
    world = private(released)
    with TestClient(create_app(recheck_seconds=0)) as app:
        assert app.post("/v1/forecasts", json={"data_set": "tiny"}).status_code == 200
        store.save(replace(world.dataset, manifest=replace(world.dataset.manifest, release=None)), datasets())
        assert app.post("/v1/forecasts", json={"data_set": "tiny"}).status_code == 422


def test_observations_that_are_sent_count_as_raw_and_are_refused_until_the_caller_says_so(
    private: Make, released: Protection
) -> None:
    private(released)
    status, refusal = ask(observations=FRESH)
    assert (status, refusal["error"]["code"]) == (422, "raw_input_refused")
    assert "raw_input = true" in refusal["error"]["message"]
    assert accesses() == []
    status, answer = ask(observations=FRESH, raw_input=True)
    assert status == 200
    assert answer["privacy"]["mark"] == SENT
    assert answer["privacy"]["exportable"] is False
    assert [line["mark"] for line in accesses()] == [SENT]


# ---------------------------------------------------------------- from raw windows


def test_every_forecast_of_a_privately_trained_model_is_marked_and_logged_without_a_value(
    private: Make, dp_sgd: Protection
) -> None:
    world = private(dp_sgd)
    file = save_forecast(forecast(world.spec, world.dataset), world.home / "forecast.parquet")
    assert pl.read_parquet_metadata(file)["flockcast.privacy.mark"] == RAW
    assert pl.read_parquet_metadata(file)["flockcast.privacy.exportable"] == "no"
    answers = [ask()[1], ask(observations=FRESH)[1]]
    assert [answer["privacy"]["mark"] for answer in answers] == [RAW, RAW]
    assert [answer["privacy"]["exportable"] for answer in answers] == [False, False]
    lines = accesses()
    assert [line["through"] for line in lines] == ["command", "http", "http"]
    assert [line["who"] for line in lines[1:]] == ["testclient"] * 2
    for line in lines:
        assert set(line) == {"time", "who", "through", "model", "version", "cutoff", "mark"}
        assert (line["model"], line["version"]) == ("tiny", world.registered.version)
        assert pd.Timestamp(line["time"]).tz is not None
    assert "4321" not in access_log().read_text()
    assert access_log().stat().st_mode & 0o077 == 0, "for its owner's eyes"


def test_raw_counts_are_not_written_outside_the_house_unless_the_file_is_said_to_be_internal(
    private: Make, dp_sgd: Protection, tmp_path: Path
) -> None:
    world = private(dp_sgd)
    found = forecast(world.spec, world.dataset)
    outside, through_a_link = tmp_path / "forecast.parquet", world.home / "link" / "forecast.parquet"
    (world.home / "link").symlink_to(tmp_path)
    for path in (outside, through_a_link, world.home / ".." / "forecast.parquet"):
        with pytest.raises(ServingRefused, match="outside FLOCKCAST_HOME.*--internal"):
            save_forecast(found, path)
    assert not outside.exists()
    assert pl.read_parquet_metadata(save_forecast(found, outside, internal=True))["flockcast.privacy.mark"] == RAW


def test_what_cannot_be_logged_is_not_given(private: Make, dp_sgd: Protection) -> None:
    world = private(dp_sgd)
    access_log().mkdir(parents=True)
    with pytest.raises(StoreError, match="so it is not given"):
        forecast(world.spec, world.dataset)
    status, answer = ask()
    assert status == 500
    assert str(world.home) not in json.dumps(answer)


def test_lines_of_the_log_are_added_never_replaced(private: Make, dp_sgd: Protection) -> None:
    private(dp_sgd)
    for who in ("anna", "ben"):
        log_access(Access(who, "http", "tiny", "1", "2024-03-20T23:00:00+01:00", RAW))
    assert [line["who"] for line in accesses()] == ["anna", "ben"]


# ---------------------------------------------------------------- plain MLflow


def test_mlflow_refuses_a_frame_until_it_is_called_raw_and_then_marks_every_row(
    private: Make, released: Protection
) -> None:
    world = private(released)
    model = mlflow.pyfunc.load_model(f"models:/tiny/{world.registered.version}")
    window = newest_window(world.trained.prepared)
    with pytest.raises((ServingRefused, MlflowException), match="raw_input = true"):
        model.predict(window)
    frame = model.predict(window, params={"raw_input": True})
    assert frame["mark"].unique().tolist() == [SENT]
    assert [line["through"] for line in accesses()] == ["mlflow"]


def test_mlflow_marks_what_a_privately_trained_model_forecasts(private: Make, dp_sgd: Protection) -> None:
    world = private(dp_sgd)
    model = mlflow.pyfunc.load_model(f"models:/tiny/{world.registered.version}")
    frame = model.predict(newest_window(world.trained.prepared))
    assert frame["mark"].unique().tolist() == [RAW]


def test_no_window_of_the_data_travels_with_a_private_model(private: Make, dp_sgd: Protection) -> None:
    world = private(dp_sgd)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/tiny/{world.registered.version}"))
    assert not [file for file in folder.rglob("*") if "example" in file.name]


# ---------------------------------------------------------------- others


def test_a_model_without_a_promise_is_served_as_ever(tiny: Any, tmp_path: Path) -> None:
    found = forecast(tiny.spec, tiny.dataset)
    assert found.mark is None
    file = save_forecast(found, tmp_path / "f.parquet")
    assert not [key for key in pl.read_parquet_metadata(file) if "privacy" in key]
    assert ask(observations=FRESH)[1]["privacy"] is None


def test_scores_on_raw_counts_are_not_told_over_http_and_those_on_a_release_are(
    private: Make, released: Protection, dp_sgd: Protection
) -> None:
    world = private(dp_sgd)
    private(released)
    with TestClient(create_app()) as app:
        newest, raw, plain = app.get("/v1/models").json()["models"]
    assert (raw["version"], raw["mae"], raw["privacy"]) == (world.registered.version, None, dp_sgd.claim.sentence)
    assert newest["mae"] > 0
    assert newest["privacy"] == released.claim.sentence
    assert (plain["mae"] > 0, plain["privacy"]) == (True, None)
