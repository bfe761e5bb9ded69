"""Cases of series and what moves between them, the whole road: files, training, registry, forecasts by every door."""

from collections.abc import Iterator
from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from data.dataset import DataSet
from pipelines import serve as serving
from pipelines.experiment import enrol, forecast, report, train
from pipelines.ingest import ingest
from pipelines.register import logging_to, newest_window
from pipelines.registry import client
from pipelines.results import Forecast
from pipelines.spec import Spec, load_spec

SPEC = """
name = "moves"

[data]
kind = "long"
files = "cases.csv"
interval = "1d"

[data.edges]
files = "moves.csv"

[task]
window = 7
horizon = 3

[model]
name = "evolvegcn"
hidden = 4
snapshots = 3

[training]
epochs = 2

[evaluation]
baselines = ["naive"]
"""


@dataclass(frozen=True)
class Road:
    spec: Spec
    dataset: DataSet
    ahead: Forecast
    page: str
    example: pd.DataFrame


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    folder, draw = tmp_path_factory.mktemp("moves"), np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=90).strftime("%Y-%m-%d")
    cases = [f"{node},{day},{draw.normal():.3f}" for node in "abc" for day in days]
    moves = [
        f"{day},{u},{v},{draw.integers(1, 99)}" for day in days for u in "abc" for v in "abc" if draw.random() < 0.7
    ]
    (folder / "cases.csv").write_text("\n".join(["unique_id,ds,y", *cases]))
    (folder / "moves.csv").write_text("\n".join(["time,source,target,weight", *moves]))
    (folder / "moves.toml").write_text(SPEC)
    quiet = {"say": lambda line: None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOCKCAST_HOME", str(folder / "home"))
        spec = load_spec(folder / "moves.toml")
        dataset = ingest(spec, **quiet)
        trained = train(spec, dataset, **quiet)
        registered, _ = enrol(spec, dataset, trained, **quiet)
        ahead = forecast(spec, dataset)
        page = report(spec, dataset, trained, registered, ahead, folder / "report.html").read_text()
        yield Road(spec, dataset, ahead, page, newest_window(trained.prepared))


def test_the_data_set_has_the_flows_and_is_found_again_with_them(road: Road) -> None:
    told: list[str] = []
    again = ingest(road.spec, say=told.append)
    assert told[0].endswith("re-used")
    assert again.flows is not None
    assert again.flows.equals(road.dataset.flows)
    assert len(again.flows) > 400
    (road.spec.folder / "moves.csv").open("a").write("\n2024-01-05,a,a,1000")
    changed = ingest(road.spec, say=told.append)
    assert changed.manifest.version != again.manifest.version


def test_the_champion_forecasts_and_the_report_names_it(road: Road) -> None:
    assert road.ahead.frame["forecast"].is_finite().all()
    assert len(road.ahead.frame) == 3 * 3
    assert "evolvegcn-H (flows)" in road.page


def test_http_by_the_name_of_the_data_set_gives_the_same_forecast(road: Road) -> None:
    with TestClient(serving.create_app(), raise_server_exceptions=False) as app:
        body = app.post("/v1/forecasts", json={"data_set": "moves"}).json()
        newer = {"unique_id": "a", "ds": "2024-05-01", "y": 1.0}
        refused = app.post("/v1/forecasts", json={"data_set": "moves", "observations": [newer]})
    served = [row["forecast"] for row in body["forecasts"]]
    assert served == pytest.approx(road.ahead.frame["forecast"].to_list())
    assert refused.status_code == 422
    assert "the flows between the nodes end at 2024-03-30" in refused.json()["error"]["message"]


def test_plain_mlflow_says_that_a_table_has_no_flows(road: Road) -> None:
    with logging_to(client(None)):
        served = mlflow.pyfunc.load_model("models:/moves@champion")
    with pytest.raises(Exception, match="observations alone don't tell; forecast from its stored data set"):
        served.predict(road.example)
