"""Message passing with a learned aggregation, the whole road: files, training, registry, forecasts by every door."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from fastapi.testclient import TestClient
from torch import Tensor, nn

from data.dataset import DataSet
from models.aggregations import AggregationName
from models.forecaster import penalty
from pipelines import serve as serving
from pipelines.errors import SpecError
from pipelines.experiment import enrol, forecast, report, train
from pipelines.graphs import static_graph
from pipelines.ingest import ingest
from pipelines.prepare import prepare
from pipelines.register import logging_to, newest_window
from pipelines.registry import client
from pipelines.results import Forecast
from pipelines.spec import GraphRecurrentModel, Spec, load_spec
from pipelines.train import Run, fit, new_network

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
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
name = "graph-recurrent"
graph = "{graph}"
hidden = 4
snapshots = 2
threshold = 0.1

[training]
epochs = 2

[evaluation]
baselines = ["naive"]
"""
NODES = "abcde"


def write_files(folder: Path, graph: str) -> Spec:
    """Cases that go up and down together, and what moves between the nodes: a node hears from three others or more."""
    draw = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=80).strftime("%Y-%m-%d")
    common = draw.normal(size=len(days))
    cases = [f"{node},{day},{common[t] + 0.5 * draw.normal():.3f}" for node in NODES for t, day in enumerate(days)]
    pairs = [(u, v) for u in NODES for v in NODES]
    moves = [f"{day},{u},{v},{draw.integers(1, 99)}" for day in days for u, v in pairs if draw.random() < 0.7]
    (folder / "cases.csv").write_text("\n".join(["unique_id,ds,y", *cases]))
    (folder / "moves.csv").write_text("\n".join(["time,source,target,weight", *moves]))
    (folder / "moves.toml").write_text(SPEC.format(graph=graph))
    return load_spec(folder / "moves.toml")  # type: ignore[return-value]


@dataclass(frozen=True)
class Road:
    graph: str
    dataset: DataSet
    ahead: Forecast
    page: str
    example: pd.DataFrame


@pytest.fixture(scope="module", params=["flows", "correlation"])
def road(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    folder, quiet = tmp_path_factory.mktemp("moves"), {"say": QUIET}
    spec = write_files(folder, request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOCKCAST_HOME", str(folder / "home"))
        dataset = ingest(spec, **quiet)
        trained = train(spec, dataset, **quiet)
        registered, _ = enrol(spec, dataset, trained, **quiet)
        ahead = forecast(spec, dataset)
        page = report(spec, dataset, trained, registered, ahead, folder / "report.html").read_text()
        yield Road(request.param, dataset, ahead, page, newest_window(trained.prepared))


def test_the_champion_forecasts_and_the_report_names_it(road: Road) -> None:
    assert road.ahead.frame["forecast"].is_finite().all()
    assert len(road.ahead.frame) == 5 * 3
    assert f"graph-recurrent-lcm ({road.graph})" in road.page


def test_http_gives_the_same_forecast(road: Road) -> None:
    with TestClient(serving.create_app(), raise_server_exceptions=False) as app:
        body = app.post("/v1/forecasts", json={"data_set": "moves"}).json()
    served = [row["forecast"] for row in body["forecasts"]]
    assert served == pytest.approx(road.ahead.frame["forecast"].to_list())


def test_plain_mlflow_forecasts_on_a_static_graph_and_says_what_it_lacks_on_a_dynamic_one(road: Road) -> None:
    with logging_to(client(None)):
        served = mlflow.pyfunc.load_model("models:/moves@champion")
    if road.graph == "flows":
        with pytest.raises(Exception, match="observations alone don't tell; forecast from its stored data set"):
            served.predict(road.example)
    else:
        values = served.predict(road.example)["forecast"].to_list()
        assert values == pytest.approx(road.ahead.frame["forecast"].to_list())


@pytest.fixture
def moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Spec, DataSet]:
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    spec = write_files(tmp_path, "flows")
    return spec, ingest(spec, say=QUIET)


def with_model(spec: Spec, **changes: Any) -> Spec:
    return spec.model_copy(update={"model": spec.model.model_copy(update=changes)})


@pytest.mark.parametrize("name", get_args(AggregationName))
def test_equal_runs_give_equal_weights_with_every_aggregation(
    name: str, moves: tuple[Spec, DataSet], tmp_path: Path
) -> None:
    """Those that shuffle the neighbours too."""
    spec = with_model(moves[0], aggregation=name)
    prepared = prepare(spec, moves[1])
    first, again = (fit(prepared, spec.model, spec.training, folder=tmp_path / place, say=QUIET) for place in "ab")
    for key, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[key])
        assert value.isfinite().all()


@pytest.mark.parametrize("graph", ["flows", "correlation"])
def test_pna_learns_the_degrees_of_the_training_range_alone(graph: str, moves: tuple[Spec, DataSet]) -> None:
    spec = with_model(moves[0], aggregation="pna", graph=graph, edge_delay=2)
    prepared = prepare(spec, moves[1])
    end = prepared.ranges.train_end
    network = new_network(prepared, spec.model, end).network
    known = prepared.series.edges[2:end] if graph == "flows" else static_graph(spec.model, prepared, end)
    heard = [messages.aggregation.mean_log_degree for messages in network.encoder.layers[0].messages]
    expected = [(way > 0).sum(-2).double().log1p().mean() for way in (known, known.mT)][: len(heard)]
    torch.testing.assert_close(torch.stack(heard).double(), torch.stack(expected), rtol=1e-5, atol=0)


class Charging(nn.Module):
    """A network whose loss does not depend on its weight, but whose penalty does."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.weight = network, nn.Parameter(torch.ones(()))
        self.edge_steps = network.edge_steps

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.network(*inputs)

    def penalty(self) -> Tensor:
        return 1000 * self.weight


def test_the_penalty_moves_the_weights_and_enters_no_loss_that_is_told(
    moves: tuple[Spec, DataSet], tmp_path: Path
) -> None:
    spec, prepared = moves[0], prepare(*moves)
    network = new_network(prepared, spec.model, prepared.ranges.train_end)
    network.network = Charging(network.network)
    run = Run(prepared, network, spec.model, spec.training, prepared.ranges, tmp_path, QUIET)
    loss = run._step(run.plan(0)[0])
    assert network.network.weight < 1
    assert loss < 100
    assert run._validation_loss() < 100


def test_a_larger_weight_makes_the_operator_more_associative(moves: tuple[Spec, DataSet], tmp_path: Path) -> None:
    """Measured with the same weight after training."""
    left = {}
    for weight in (0.0, 1.0):
        spec = with_model(moves[0], assoc_weight=weight)
        training = spec.training.model_copy(update={"epochs": 15, "patience": 15, "learning_rate": 0.01})
        prepared = prepare(spec, moves[1])
        run = Run(
            prepared,
            new_network(prepared, spec.model, prepared.ranges.train_end),
            spec.model,
            training,
            prepared.ranges,
            tmp_path / str(weight),
            QUIET,
        )
        run.to_the_end("")
        for layer in run.network.network.encoder.layers:
            for messages in layer.messages:
                messages.aggregation.assoc_weight = 1.0
        run.network.train()(*run.learn.take(torch.arange(20)).inputs)
        left[weight] = penalty(run.network).item()
    assert left[1.0] < 0.5 * left[0.0]


def test_settings_that_do_not_fit_are_one_line(moves: tuple[Spec, DataSet]) -> None:
    file = moves[0].folder / "moves.toml"
    for line, told in (
        ('aggregation = "lmc"', "did you mean 'lcm'"),
        ("assoc_weight = -1", "greater than or equal to 0"),
        ("[training]\ncompile = true", "training.compile is not for 'graph-recurrent'"),
    ):
        text = SPEC.format(graph="flows")
        text = text.replace("[training]", line) if line.startswith("[") else text.replace("hidden = 4", line)
        file.write_text(text)
        with pytest.raises(SpecError, match=told) as caught:
            load_spec(file)
        assert len(str(caught.value).splitlines()) == 1
    assert GraphRecurrentModel(name="graph-recurrent", graph="distance").label == "graph-recurrent-lcm (distance)"
