import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pytest
from fastapi.testclient import TestClient

from pipelines import serve as serving
from pipelines.experiment import forecast, load_champion, save_forecast
from pipelines.predict import Predictor
from pipelines.register import register
from pipelines.registry import CHAMPION, client, promote, roll_back

Json = dict[str, Any]


@pytest.fixture(scope="module")
def app(tiny: Any) -> Iterator[TestClient]:
    with TestClient(serving.create_app(), raise_server_exceptions=False) as running:
        yield running


@pytest.fixture
def own_registry(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of the registry, to change at will."""
    shutil.copy(tiny.home / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def nothing_stored(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny.home}/mlflow.db")
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "elsewhere"))


def ask(app: TestClient, **wanted: Any) -> Json:
    response = app.post("/v1/forecasts", json={"data_set": "tiny", **wanted})
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["code", "message"]
    return response.status_code, body["error"]["code"], body["error"]["message"]


def points(answer: Json) -> np.ndarray:
    return np.array([row["forecast"] for row in answer["forecasts"]])


def newest(tiny: Any, steps: int) -> list[Json]:
    """The last steps of the stored data as observations."""
    panel = tiny.dataset.panel
    return [
        {"unique_id": node, "ds": time.isoformat(), "y": float(panel.values[t, n, 0])}
        for t, time in list(enumerate(panel.index))[-steps:]
        for n, node in enumerate(panel.nodes)
    ]


# ---------------------------------------------------------------- forecasts


def test_the_server_gives_the_numbers_that_the_forecast_command_writes(app, tiny, tmp_path):
    quantiles = [0.05, 0.5, 0.975]
    written = pl.read_parquet(
        save_forecast(forecast(tiny.spec, tiny.dataset, quantiles=quantiles), tmp_path / "f.parquet")
    )
    answer = ask(app, quantiles=quantiles)
    rows = answer["forecasts"]
    assert [(row["unique_id"], row["variable"], row["lead_time"]) for row in rows] == written.select(
        "unique_id", "variable", "lead_time"
    ).rows()
    assert [pd.Timestamp(row["ds"]) for row in rows] == [pd.Timestamp(time) for time in written["ds"]]
    assert [row["forecast"] for row in rows] == written["forecast"].to_list()
    for key, column in {"0.05": "q05", "0.5": "q50", "0.975": "q975"}.items():
        assert [row["quantiles"][key] for row in rows] == written[column].to_list()


def test_an_answer_says_what_it_rests_on(app, tiny):
    answer = ask(app)
    del answer["forecasts"]
    assert answer == {
        "data_set": "tiny",
        "model": "gru",
        "version": "1",
        "alias": "champion",
        "data_set_version": tiny.dataset.manifest.version,
        "cutoff": "2024-03-20T23:00:00+01:00",
        "interval": "1h",
        "timezone": "Europe/Oslo",
        "privacy": None,
    }


def test_nodes_horizon_and_quantiles_narrow_the_answer(app):
    everything = {(row["unique_id"], row["lead_time"]): row["forecast"] for row in ask(app)["forecasts"]}
    rows = ask(app, nodes=["west", "east", "west"], horizon=2, quantiles=[])["forecasts"]
    asked = [("west", 1), ("west", 2), ("east", 1), ("east", 2)]
    assert [(row["unique_id"], row["lead_time"]) for row in rows] == asked
    assert [row["forecast"] for row in rows] == [everything[key] for key in asked]
    assert all(row["quantiles"] == {} for row in rows)


def test_a_fresh_value_wins_over_the_stored_one_and_a_null_leaves_it(app, tiny):
    panel = tiny.dataset.panel
    values = panel.values[-24:].copy()
    values[-1, 1, 0] = 40.0  # north
    by_hand = forecast_by_hand(tiny, values, panel.index[-1])
    stamp = "2024-03-20T23:00"
    fresh = [{"unique_id": "north", "ds": stamp, "y": 40}, {"unique_id": "east", "ds": stamp, "y": None}]
    answer = ask(app, observations=fresh)
    assert np.array_equal(points(answer), by_hand)
    assert not np.array_equal(points(answer), points(ask(app)))


def test_a_newer_step_moves_the_cutoff_and_what_it_lacks_stays_unobserved(app, tiny):
    panel = tiny.dataset.panel
    values = np.concatenate([panel.values[-22:], np.full((2, 3, 1), np.nan)])
    values[-1, 0, 0] = 12.0  # east, two hours on; nothing is known of the hour between
    cutoff = panel.index[-1] + pd.Timedelta(hours=2)
    answer = ask(app, observations=[{"unique_id": "east", "ds": "2024-03-21T00:59:59Z", "y": 12}])
    assert answer["cutoff"] == "2024-03-21T01:00:00+01:00"
    assert np.array_equal(points(answer), forecast_by_hand(tiny, values, cutoff))


def forecast_by_hand(tiny: Any, values: np.ndarray, cutoff: pd.Timestamp) -> np.ndarray:
    predictor, _ = load_champion("tiny")
    frame = predictor.forecast_window(values, ~np.isnan(values), cutoff, horizon=None, nodes=None, quantiles=[])
    return frame["forecast"].to_numpy()


def test_observations_stand_alone_where_nothing_is_stored(app, tiny, nothing_stored):
    with TestClient(serving.create_app()) as elsewhere:
        answer = ask(elsewhere, observations=newest(tiny, 24))
        code = refused(elsewhere.post("/v1/forecasts", json={"data_set": "tiny"}))[:2]
    assert answer["data_set_version"] is None
    assert np.array_equal(points(answer), points(ask(app)))
    assert code == (422, "observations_needed")


# ---------------------------------------------------------------- what goes wrong


def row(**given: Any) -> list[Json]:
    return [{"unique_id": "east", "ds": "2024-03-20T23:00", "y": 1, **given}]


WRONG = {
    "horizon 7 is out of reach: this model forecasts 1 to 6 steps of 1h": {"horizon": 7},
    "horizon: input should be a valid integer": {"horizon": "soon"},
    "unknown node 'south'; the model knows east, north, west": {"nodes": ["south"]},
    "nodes: list should have at least 1 item": {"nodes": []},
    "quantile 0.9999 is out of reach: the calibration covers 0.005 to 0.995": {"quantiles": [0.9999]},
    "horizn: unknown key": {"horizn": 3},
    "observations: list should have at least 1 item": {"observations": []},
    "observations.0.ds: field required": {"observations": [{"unique_id": "east"}]},
    "observations.0.y: input should be a valid number": {"observations": row(y="much")},
    "unknown unique_id 'south'": {"observations": row(unique_id="south")},
    "have the key 'Y'; known are unique_id, ds, y": {"observations": row(Y=2)},
    "y of 'east' at 2024-03-20T23:00 is -1; counts are never negative": {"observations": row(y=-1)},
    "y of 'east' at 2024-03-20T23:00 is 1e+31; that is no observation": {"observations": row(y=1e31)},
    "can't read the time 'yesterday'": {"observations": row(ds="yesterday")},
    "can't read the time '2024-03-31T02:30'": {"observations": row(ds="2024-03-31T02:30")},  # the hour that is missing
    "9999-12-31T23:00 is outside the years 1900 to 2100": {"observations": row(ds="9999-12-31T23:00")},
    "two rows for 'east'": {"observations": row() + row()},
}


@pytest.mark.parametrize(("message", "wanted"), WRONG.items())
def test_a_mistake_is_told_in_one_line(app, message, wanted):
    status, code, told = refused(app.post("/v1/forecasts", json={"data_set": "tiny", **wanted}))
    assert (status, code) == (422, "invalid_request")
    assert message in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"", 422),
        (b"[" * 100_000, 400),
        (b"\xff", 400),
        (b'{"data_set":"tiny","horizon":' + b"1" * 5000 + b"}", 400),
        (b'{"data_set":"tiny","quantiles":[NaN]}', 422),
        (b'{"data_set":"\\ud800"}', 422),
    ],
)
def test_a_body_that_is_no_json_for_us_is_refused(app, body, status):
    response = app.post("/v1/forecasts", content=body, headers={"content-type": "application/json"})
    assert refused(response)[0] == status


def test_the_largest_value_allowed_still_gives_finite_numbers(app):
    assert np.isfinite(points(ask(app, observations=row(y=1e30)))).all()


def test_an_unknown_data_set_is_answered_with_the_known_ones(app):
    response = app.post("/v1/forecasts", json={"data_set": "tinny"})
    assert refused(response) == (404, "unknown_data_set", "no model is registered as 'tinny'; known: tiny")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_limit_is_refused_whether_or_not_its_length_is_announced(tiny, announced):
    body = b'{"data_set": "tiny"}' + b" " * 1000
    content = body if announced else iter([body[:600], body[600:]])
    with TestClient(serving.create_app(most_bytes=1000)) as small:
        response = small.post("/v1/forecasts", content=content, headers={"content-type": "application/json"})
        assert refused(response)[:2] == (413, "body_too_large")
        assert ask(small)["version"] == "1"


def test_an_unknown_path_and_a_wrong_method_have_the_same_shape(app):
    assert refused(app.get("/v2"))[:2] == (404, "not_found")
    assert refused(app.get("/v1/forecasts"))[:2] == (405, "method_not_allowed")


def test_a_fault_of_ours_shows_nothing_of_the_inside(app, monkeypatch):
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("/srv/secret")

    monkeypatch.setattr(Predictor, "forecast_window", broken)
    status, code, message = refused(app.post("/v1/forecasts", json={"data_set": "tiny"}))
    assert (status, code) == (500, "internal_error")
    assert "secret" not in message


def test_a_registry_that_is_away_is_a_503_without_its_address(tiny, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with TestClient(serving.create_app()) as alone:
        answers = [
            alone.post("/v1/forecasts", json={"data_set": "tiny"}),
            alone.get("/v1/models"),
            alone.get("/readyz"),
        ]
        assert alone.get("/healthz").status_code == 200
    for answer in answers:
        assert refused(answer)[:2] == (503, "registry_unreachable")
        assert "127.0.0.1" not in answer.text


def test_without_a_champion_nothing_is_forecast_and_the_server_is_not_ready(own_registry):
    client().delete_registered_model_alias("tiny", CHAMPION)
    with TestClient(serving.create_app()) as headless:
        status, code, message = refused(headless.post("/v1/forecasts", json={"data_set": "tiny"}))
        ready = refused(headless.get("/readyz"))
    assert (status, code) == (503, "no_champion")
    assert ready == (503, "not_ready", message)


def test_a_champion_whose_files_are_gone_is_a_503_without_a_path(own_registry, monkeypatch):
    from pipelines.serving import champions

    monkeypatch.setattr(champions, "fetch_forecaster", lambda *_: Path("/srv/secret"))
    with TestClient(serving.create_app()) as robbed:
        response = robbed.post("/v1/forecasts", json={"data_set": "tiny"})
    assert refused(response)[:2] == (503, "champion_unusable")
    assert "secret" not in response.text


# ---------------------------------------------------------------- models and readiness


def test_the_models_are_listed_with_what_they_are_worth(app, tiny):
    (listed,) = app.get("/v1/models").json()["models"]
    result = tiny.trained.evaluated.backtest
    assert pd.Timestamp(listed.pop("created")).tz is not None
    assert listed.pop("mae") == pytest.approx(result.total("gru", "mae"), rel=1e-5)  # the tag has six digits
    assert listed == {
        "name": "tiny",
        "version": "1",
        "aliases": ["champion"],
        "model": "gru",
        "data_set_version": tiny.dataset.manifest.version,
        "privacy": None,
    }


def test_ready_means_that_every_data_set_that_was_asked_for_can_be_served(app):
    assert app.get("/readyz").json() == {"status": "ready", "champions": {"tiny": "1"}}
    with TestClient(serving.create_app(data_sets=["tiny", "tinny"])) as picky:
        status, code, message = refused(picky.get("/readyz"))
    assert (status, code) == (503, "not_ready")
    assert "'tinny'" in message


def test_the_description_names_every_path_and_no_page_loads_scripts_from_elsewhere(app):
    paths = app.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/forecasts", "/v1/models", "/healthz", "/readyz"}
    assert {app.get(page).status_code for page in ("/docs", "/redoc")} == {404}


# ---------------------------------------------------------------- champions in memory


def test_a_promotion_and_a_roll_back_are_picked_up_without_a_restart(own_registry, tiny):
    register(tiny.spec, tiny.dataset, tiny.trained.prepared, tiny.trained.evaluated)
    with TestClient(serving.create_app(recheck_seconds=0.05)) as running:
        seen = [ask(running)["version"]]
        promote("tiny", "2")
        time.sleep(0.1)
        seen.append(ask(running)["version"])
        roll_back("tiny")
        time.sleep(0.1)
        seen.append(ask(running)["version"])
    assert seen == ["1", "2", "1"]


def test_between_two_looks_the_registry_is_not_asked(own_registry):
    with TestClient(serving.create_app(recheck_seconds=60)) as running:
        ask(running)
        client().delete_registered_model_alias("tiny", CHAMPION)
        assert ask(running)["version"] == "1"


def test_a_champion_in_memory_outlives_its_registry(own_registry, monkeypatch):
    with TestClient(serving.create_app(recheck_seconds=0)) as running:
        ask(running)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert ask(running)["version"] == "1"
        assert running.get("/readyz").status_code == 503


def test_newer_data_in_the_store_is_read_without_a_restart(tiny, own_registry, tmp_path, monkeypatch):
    from dataclasses import replace

    from data import store
    from pipelines.settings import datasets

    shutil.copytree(datasets(), tmp_path / "home" / "datasets")
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    with TestClient(serving.create_app(recheck_seconds=0)) as running:
        ask(running)
        panel = tiny.dataset.panel
        shorter = replace(panel, values=panel.values[:-5], mask=panel.mask[:-5], index=panel.index[:-5])
        manifest = replace(tiny.dataset.manifest, version=store.content_hash(shorter, None))
        time.sleep(0.02)  # the newest is the one that was written last
        store.save(replace(tiny.dataset, panel=shorter, manifest=manifest), datasets())
        answer = ask(running)
    assert answer["data_set_version"] == manifest.version
    assert answer["cutoff"] == "2024-03-20T18:00:00+01:00"


def test_many_requests_at_once_load_a_champion_once(tiny, monkeypatch):
    loads = []
    real = Predictor.load

    def slow(folder: Path) -> Predictor:
        loads.append(folder)
        time.sleep(0.2)
        return real(folder)

    monkeypatch.setattr(Predictor, "load", slow)
    with TestClient(serving.create_app()) as running, ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: ask(running)["version"], range(8)))
    assert answers == ["1"] * 8
    assert len(loads) == 1


def test_a_long_forecast_holds_up_neither_the_event_loop_nor_more_workers_than_there_are(tiny, monkeypatch):
    release, entered = threading.Event(), threading.Semaphore(0)
    real = Predictor.forecast_window

    def held(*given: Any, **chosen: Any) -> pl.DataFrame:
        entered.release()
        assert release.wait(20)
        return real(*given, **chosen)

    monkeypatch.setattr(Predictor, "forecast_window", held)
    with TestClient(serving.create_app(workers=2)) as running, ThreadPoolExecutor(3) as callers:
        pending = [callers.submit(ask, running) for _ in range(3)]
        try:
            assert entered.acquire(timeout=20)
            assert entered.acquire(timeout=20)
            assert not entered.acquire(timeout=0.3)  # the third waits for a worker
            assert running.get("/healthz").status_code == 200
        finally:
            release.set()
        assert [call.result()["version"] for call in pending] == ["1"] * 3


# ---------------------------------------------------------------- a real server


@pytest.mark.server
def test_a_real_server_becomes_ready_forecasts_and_ends_on_sigterm(app, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"from pipelines.serve import serve; serve('127.0.0.1', {port}, data_sets=['tiny'])"
    log = tmp_path / "log"
    with log.open("w") as out:
        server = subprocess.Popen([sys.executable, "-c", program], stdout=out, stderr=out, env=os.environ)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/readyz", server, log)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/forecasts", json={"data_set": "tiny"}, timeout=30)
        assert answer.json() == ask(app)
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=30) in (0, -signal.SIGTERM)
    finally:
        server.kill()
        server.wait()
    told = log.read_text()
    assert "Application shutdown complete" in told
    assert "Traceback" not in told


def wait_until_ready(url: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError(f"not ready in 90 s: {log.read_text()}")
