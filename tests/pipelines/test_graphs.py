"""Series on a graph, from the data set to the forecast."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from data.dataset import DataSet
from data.errors import DataError
from data.panel import Panel
from pipelines.artefact import Artefact, describe_artefact, load_artefact, save_artefact
from pipelines.errors import SpecError
from pipelines.evaluate import Evaluated, backtest, forecast_at, targets_at
from pipelines.experiment import outlook
from pipelines.gate import champion_score, judge
from pipelines.graphs import static_graph
from pipelines.predict import Predictor
from pipelines.prepare import Prepared, edge_delay, prepare
from pipelines.spec import Evaluation, Registry, Spec, parse_spec
from pipelines.train import fit, new_network, training_key

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
SMALL = {"name": "evolvegcn", "hidden": 8, "snapshots": 4, "lags": 2}
STATIC = ("flows-mean", "correlation", "distance", "nearest", "given")


@pytest.fixture
def roads(waves: Callable[..., DataSet]) -> DataSet:
    """Five places in a row with daily waves, some of them missing, and random flows between them at every hour."""
    waved, draw = waves(nodes=5), np.random.default_rng(1)
    panel = waved.panel
    amounts = draw.poisson(0.5, size=(len(panel.index), 5, 5))
    step, source, target = np.nonzero(amounts)
    names = np.array(panel.nodes)
    flows = pl.DataFrame(
        {
            "time": pl.Series(panel.index).gather(step),
            "source": names[source],
            "target": names[target],
            "weight": amounts[step, source, target],
        }
    )
    places = pl.DataFrame({"latitude": [48.0 + 0.1 * i for i in range(5)], "longitude": [2.0] * 5})
    return replace(waved, panel=replace(panel, static=panel.static.hstack(places)), flows=flows)


@pytest.fixture
def graph_spec(wave_spec: Callable[..., Spec], tmp_path: Path) -> Callable[..., Spec]:
    def make(**model: Any) -> Spec:
        (tmp_path / "edges.csv").write_text("source,target,weight\nn0,n1,2\nn1,n2,1\nn4,n0,0.5\n")
        given = {"edges": str(tmp_path / "edges.csv")} if model.get("graph") == "given" else {}
        return wave_spec(
            model=SMALL | given | model, training={"epochs": 2}, evaluation={"baselines": ["naive"], "stride": 7}
        )

    return make


def evaluated(spec: Spec, prepared: Prepared, folder: Path) -> tuple[Evaluated, Artefact]:
    found = backtest(spec, prepared, folder=folder, say=QUIET)
    return found, Artefact(describe_artefact(spec, prepared, found), found.fitted.network, found.calibration)


def noisy_after(dataset: DataSet, step: int) -> DataSet:
    """All values and flows from `step` on are others."""
    panel, draw = dataset.panel, np.random.default_rng(9)
    values = panel.values.copy()
    values[step:] = draw.normal(1e3, 1e3, values[step:].shape)
    late = pl.col("time") >= panel.index[step].to_pydatetime()
    flows = dataset.flows.with_columns(weight=pl.when(late).then(pl.col("weight") * 50 + 7).otherwise("weight"))
    return replace(dataset, panel=replace(panel, values=values, mask=panel.mask | ~np.isnan(values)), flows=flows)


@pytest.mark.parametrize("graph", STATIC)
def test_nothing_behind_training_enters_a_static_graph(graph: str, roads: DataSet, graph_spec) -> None:
    spec = graph_spec(graph=graph, neighbours=2)
    prepared = prepare(spec, roads)
    end = prepared.ranges.train_end
    ours = static_graph(spec.model, prepared, end)
    assert torch.equal(static_graph(spec.model, prepare(spec, noisy_after(roads, end)), end), ours)
    assert ours.count_nonzero() > 0
    fresh = [
        new_network(prepare(spec, each), spec.model, end).network.graph for each in (roads, noisy_after(roads, end))
    ]
    assert torch.equal(*fresh)
    if graph in ("flows-mean", "correlation"):  # and training does enter
        assert not torch.equal(static_graph(spec.model, prepare(spec, noisy_after(roads, end - 50)), end), ours)


def test_static_graphs_are_what_they_are_called(roads: DataSet, graph_spec) -> None:
    graphs = {}
    for graph in STATIC:
        spec = graph_spec(graph=graph, neighbours=1, sigma_km=15, threshold=0.3)
        prepared = prepare(spec, roads)
        graphs[graph] = static_graph(spec.model, prepared, prepared.ranges.train_end)
    beside = torch.tensor([[abs(i - j) == 1 for j in range(5)] for i in range(5)])  # 11 km apart
    assert torch.equal(graphs["distance"] > 0, beside)
    assert graphs["nearest"].sum(0).tolist() == [1] * 5
    assert not (graphs["nearest"] > 0)[~beside].any()
    assert [tuple(pair) for pair in graphs["given"].nonzero().tolist()] == [(0, 1), (1, 2), (4, 0)]
    known = prepare(graph_spec(graph="flows"), roads).series.edges[: prepared.ranges.train_end]
    torch.testing.assert_close(graphs["flows-mean"], known.mean(0))


def test_the_mean_of_flows_is_of_the_steps_at_which_they_are_known(roads: DataSet, graph_spec) -> None:
    """Neither before the delay has passed nor where the source has a gap is there nothing: it is not known."""
    gap = pl.col("time").is_between(roads.panel.index[50], roads.panel.index[99])
    holes = replace(roads, flows=roads.flows.filter(~gap))
    spec = graph_spec(graph="flows-mean", edge_delay=3)
    prepared = prepare(spec, holes)
    end = prepared.ranges.train_end
    known = prepare(graph_spec(graph="flows", edge_delay=0), roads).series.edges[: end - 3]
    kept = torch.cat([known[:50], known[100:]])
    torch.testing.assert_close(static_graph(spec.model, prepared, end), kept.mean(0))
    assert any("50 of" in note and "no edge" in note for note in prepared.notes)


def test_a_delay_longer_than_training_is_refused(roads: DataSet, graph_spec) -> None:
    with pytest.raises(SpecError, match="flows are known after 390 steps, but training has"):
        prepare(graph_spec(edge_delay=390), roads)


def test_a_check_says_what_training_would_refuse(roads: DataSet, graph_spec) -> None:
    with pytest.raises(SpecError, match="joins no two of the 5 nodes"):
        outlook(graph_spec(graph="distance", sigma_km=1), roads)


def test_a_forecast_from_flows_that_have_ended_is_refused(roads: DataSet, graph_spec, tmp_path: Path) -> None:
    spec = graph_spec()
    _, artefact = evaluated(spec, prepare(spec, roads), tmp_path)
    stale = roads.flows.filter(pl.col("time") < roads.panel.index[-20].to_pydatetime())
    with pytest.raises(DataError, match="flows between the nodes end at .* ingest newer flows"):
        Predictor(artefact).forecast_panel(roads.panel, flows=stale)


@pytest.mark.parametrize(
    ("change", "model", "told"),
    [
        (lambda d: replace(d, flows=None), {"graph": "flows"}, r"get it from \[data.edges\]"),
        (
            lambda d: replace(d, panel=replace(d.panel, static=d.panel.static[["node"]])),
            {"graph": "distance"},
            "no coord",
        ),
        (
            lambda d: replace(
                d,
                panel=replace(
                    d.panel,
                    static=d.panel.static.with_columns(
                        longitude=pl.when(pl.col("node") != "n3").then(pl.col("longitude"))
                    ),
                ),
            ),
            {"graph": "nearest"},
            "'n3' has no coordinates",
        ),
        (lambda d: d, {"graph": "nearest", "neighbours": 5}, "5 nearest others among 5"),
        (lambda d: d, {"graph": "distance", "sigma_km": 1}, "joins no two of the 5 nodes; lower model.threshold"),
    ],
)
def test_a_graph_that_the_data_do_not_have_is_refused(change, model, told, roads: DataSet, graph_spec) -> None:
    def start() -> None:
        spec = graph_spec(**model)
        prepared = prepare(spec, change(roads))
        new_network(prepared, spec.model, prepared.ranges.train_end)

    with pytest.raises(SpecError, match=told):
        start()


def test_a_list_of_edges_that_names_a_stranger_is_refused(roads: DataSet, graph_spec, tmp_path: Path) -> None:
    spec = graph_spec(graph="given")
    (tmp_path / "edges.csv").write_text("source,target\nn0,elsewhere\n")
    with pytest.raises(SpecError, match="'elsewhere'"):
        prepare(spec, roads)


@pytest.mark.parametrize(("graph", "operators"), [("correlation", 1), ("distance", 1), ("nearest", 2), ("flows", 2)])
def test_only_edges_that_may_differ_from_their_reverse_are_read_both_ways(
    graph: str, operators: int, roads: DataSet, graph_spec
) -> None:
    spec = graph_spec(graph=graph, neighbours=1)
    prepared = prepare(spec, roads)
    network = new_network(prepared, spec.model, prepared.ranges.train_end).network
    assert len(network.encoder.layers[0].weights) == operators


def test_the_busiest_nodes_keep_the_edges_and_flows_between_them(roads: DataSet, graph_spec) -> None:
    whole = graph_spec(graph="given")
    part = prepare(whole, roads)
    few = prepare(whole.model_copy(update={"task": whole.task.model_copy(update={"busiest": 3})}), roads)
    rows = [part.panel.nodes.index(node) for node in few.panel.nodes]
    assert torch.equal(few.given, part.given[rows][:, rows])
    flows = graph_spec()
    all_edges = prepare(flows, roads).series.edges
    busy = prepare(flows.model_copy(update={"task": flows.task.model_copy(update={"busiest": 3})}), roads).series.edges
    assert torch.equal(busy, all_edges[:, rows][:, :, rows])


def test_another_list_of_edges_is_another_training(roads: DataSet, graph_spec, tmp_path: Path) -> None:
    spec = graph_spec(graph="given")

    def key() -> str:
        prepared = prepare(spec, roads)
        return training_key(prepared, prepared.ranges, spec.model, spec.training)

    first = key()
    assert key() == first
    (tmp_path / "edges.csv").write_text("source,target\nn0,n1\n")
    assert key() != first


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"graph": "given", "edges": None}, "go together"),
        ({"edges": "edges.csv"}, "go together"),
        ({"edge_delay": -1}, "a whole number from 0, or 'auto'"),
        ({"rnn": "lstm", "remedy": "closed_gate"}, "no update gate"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(model: dict, told: str, graph_spec) -> None:
    with pytest.raises(SpecError, match=told) as caught:
        graph_spec(**model)
    assert len(str(caught.value).splitlines()) == 1


def taxi_spec(hours: float, interval: str = "1h", **model: Any) -> Spec:
    columns = {name: name for name in ("start", "end", "source", "target")}
    data = {"kind": "trips", "files": "x.csv", "columns": columns, "interval": interval, "max_trip_hours": hours}
    return parse_spec({"name": "taxi", "data": data, "model": SMALL | model}, folder=Path())


@pytest.mark.parametrize(
    ("hours", "interval", "steps"), [(6, "1h", 6), (0.5, "1h", 1), (1.25, "15m", 5), (20, "1d", 1), (24, "1d", 2)]
)
def test_a_trip_is_known_when_the_longest_one_has_ended(hours: float, interval: str, steps: int) -> None:
    """A trip that begins in the last instant of a step must have ended `steps` steps later; days may have 23 hours."""
    assert edge_delay(taxi_spec(hours, interval)) == steps
    assert edge_delay(taxi_spec(hours, interval, edge_delay=0)) == 0
    assert edge_delay(taxi_spec(hours, interval, graph="correlation")) == 0


@pytest.mark.parametrize(
    "model", [{}, {"edge_delay": 3}, {"predict": "pace"}, {"graph": "flows-mean"}, {"name": "gcn"}]
)
def test_an_artefact_forecasts_what_the_backtest_did(
    model: dict, roads: DataSet, graph_spec, wave_spec, tmp_path: Path
) -> None:
    """From the data set up to a cutoff, by the saved files alone; what comes after the cutoff isn't there at all."""
    spec = graph_spec(**model) if "name" not in model else wave_spec(model={"name": "gcn", "hidden": 8})
    prepared = prepare(spec, roads)
    found, artefact = evaluated(spec, prepared, tmp_path)
    save_artefact(tmp_path / "artefact", artefact.config, found)
    predictor = Predictor(load_artefact(tmp_path / "artefact"))
    cutoff = 350
    past = replace(
        roads.panel,
        index=roads.panel.index[: cutoff + 1],
        values=roads.panel.values[: cutoff + 1],
        mask=roads.panel.mask[: cutoff + 1],
    )
    flows = roads.flows.filter(pl.col("time") <= past.index[-1].to_pydatetime())
    ahead = predictor.forecast_panel(past, flows=flows)["forecast"].to_numpy().reshape(5, 6)
    expected = forecast_at(found.fitted.network, prepared, [cutoff], window=prepared.shape.window)[0, :, :, 0]
    np.testing.assert_allclose(ahead, expected.T, rtol=1e-5)


def test_a_forecast_knows_no_flow_of_the_future(roads: DataSet, graph_spec) -> None:
    """Nor one that the delay keeps back."""
    for delay in (0, 3):
        spec = graph_spec(edge_delay=delay)
        prepared = prepare(spec, roads)
        network = new_network(prepared, spec.model, prepared.ranges.train_end).eval()
        torch.nn.init.normal_(network.network.output.weight)
        other = prepare(spec, noisy_flows(roads, after=300))
        one, two = (forecast_at(network, p, [300 + delay, 301 + delay], window=24) for p in (prepared, other))
        assert np.array_equal(one[0], two[0])
        assert not np.array_equal(one[1], two[1])


def noisy_flows(dataset: DataSet, *, after: int) -> DataSet:
    return replace(dataset, flows=noisy_after(dataset, after + 1).flows)


def test_where_flows_can_not_be_had_it_is_said(roads: DataSet, graph_spec, tmp_path: Path) -> None:
    spec = graph_spec()
    _, artefact = evaluated(spec, prepare(spec, roads), tmp_path)
    predictor = Predictor(artefact)
    rows = pl.DataFrame({"unique_id": ["n0"], "ds": ["2024-01-02 03:00"], "y": [20.0]})
    with pytest.raises(DataError, match="observations alone don't tell; forecast from its stored data set"):
        predictor.forecast(rows)
    with pytest.raises(DataError, match="observations alone don't tell"):
        predictor.forecast_panel(roads.panel)
    later = rows.with_columns(ds=pl.lit("2024-06-01 03:00"))
    _, _, cutoff = predictor.window(history=roads.panel, fresh=later)
    with pytest.raises(DataError, match=r"flows between the nodes end at 2024-01-17.*before the newest observation"):
        predictor.edges(cutoff, history=roads.panel, flows=roads.flows)
    assert predictor.edges(roads.panel.index[-1], history=roads.panel, flows=roads.flows).shape == (4, 5, 5)


def beside_gcn(spec: Spec) -> Spec:
    """With a static GCN as its only yardstick, fitted anew half way."""
    evaluation = spec.evaluation.model_copy(update={"baselines": ["gcn"], "refits": 2})
    return spec.model_copy(update={"evaluation": evaluation})


@pytest.mark.parametrize("graph", ["flows", "flows-mean", "distance", "given"])
def test_the_yardstick_gcn_is_the_model_of_that_name_on_the_same_graph(
    graph: str, roads: DataSet, graph_spec, tmp_path: Path
) -> None:
    """Run by itself it makes the very same forecasts, and in the same folder it is not trained twice."""
    delay = {"edge_delay": 2} if graph.startswith("flows") else {}
    told: list[str] = []
    found = []
    for own in ({}, {"name": "gcn", "snapshots": None}):
        spec = beside_gcn(graph_spec(graph=graph, profile=4, **delay, **own))
        found.append(backtest(spec, prepare(spec, roads), folder=tmp_path, say=told.append).backtest)
    beside, alone = found
    assert list(beside.forecasts) == [f"evolvegcn-H ({graph})", "gcn"]
    assert list(alone.forecasts) == [f"gcn ({graph})"]
    assert np.array_equal(beside.forecasts["gcn"], alone.forecasts[f"gcn ({graph})"])
    assert not np.array_equal(beside.forecasts["gcn"], beside.forecasts[beside.model])
    assert sum(f"gcn ({graph}): unchanged since it was trained" in line for line in told) == 2  # both fits


@pytest.mark.parametrize("graph", ["flows", "flows-mean", "correlation"])
def test_the_yardstick_gcn_forecasts_from_what_is_known(graph: str, roads: DataSet, graph_spec, tmp_path: Path) -> None:
    """The second fit's training range and all before it is left alone; from its cutoffs on everything is another."""
    spec = beside_gcn(graph_spec(graph=graph))
    prepared = prepare(spec, roads)
    first = prepared.ranges.validation_end + 50
    before, after = (
        backtest(spec, prepare(spec, each), folder=tmp_path / place, say=QUIET).backtest
        for place, each in (("calm", roads), ("noisy", noisy_after(roads, first)))
    )
    known = before.cutoffs < prepared.panel.index[first]
    assert 0 < known.sum() < len(known)
    assert np.array_equal(before.forecasts["gcn"][known], after.forecasts["gcn"][known])
    assert not np.array_equal(before.forecasts["gcn"][~known], after.forecasts["gcn"][~known])


def test_a_model_without_a_graph_has_no_gcn_beside_it(roads: DataSet, wave_spec, tmp_path: Path) -> None:
    spec = wave_spec(training={"epochs": 1}, evaluation={"baselines": ["naive", "gcn"], "stride": 7})
    assert "gcn" in Evaluation().baselines  # by default
    assert list(backtest(spec, prepare(spec, roads), folder=tmp_path, say=QUIET).backtest.forecasts) == ["gru", "naive"]


def test_a_champion_that_reads_flows_is_compared_with_a_model_that_reads_none(
    roads: DataSet, graph_spec, wave_spec, tmp_path: Path
) -> None:
    spec = graph_spec(edge_delay=2)
    first = prepare(spec, roads)
    found, present = evaluated(spec, first, tmp_path)
    gru = wave_spec(training={"epochs": 1}, evaluation={"baselines": ["naive"], "stride": 7})
    prepared = prepare(gru, roads)
    candidate = backtest(gru, prepared, folder=tmp_path, say=QUIET).backtest
    verdict = judge(Registry(), prepared, candidate, present, "1")
    everywhere = np.ones(len(candidate.cutoffs), dtype=bool)
    theirs = champion_score(prepared, candidate, everywhere, present, "mae")
    assert theirs == pytest.approx(found.backtest.total(found.backtest.model, "mae"), rel=1e-9)
    assert f"against {theirs:.4g} of champion 1" in verdict.reason
    without = judge(Registry(), replace(prepared, flows=None), candidate, present, "1")
    assert "reads the flows between the nodes, which these data don't have" in without.reason


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_equal_runs_give_equal_weights_in_both_precisions(
    precision: str, roads: DataSet, graph_spec, tmp_path: Path
) -> None:
    spec = graph_spec()
    training = spec.training.model_copy(update={"precision": precision})
    prepared = prepare(spec, roads)
    first, again = (fit(prepared, spec.model, training, folder=tmp_path / place, say=QUIET) for place in "ab")
    assert all(torch.equal(v, again.network.state_dict()[k]) for k, v in first.network.state_dict().items())
    assert first.history.epochs["validation_loss"].is_finite().all()


def test_a_signal_along_changing_edges_is_learnt_from_them_and_not_from_their_mean(
    wave_spec: Callable[..., Spec], roads: DataSet, tmp_path: Path
) -> None:
    """Every value moves to another node at each step: where to, only the edges of that step tell."""
    steps, nodes, draw = 400, 8, np.random.default_rng(0)
    x, rows = np.zeros((steps, nodes, 1)), []
    names = tuple(f"n{i}" for i in range(nodes))
    index = pd.date_range("2024-01-01", periods=steps, freq="h", tz="UTC")
    for t in range(steps):
        goes = draw.permutation(nodes)
        rows += [(index[t], names[u], names[goes[u]], 100.0) for u in range(nodes)]
        if t + 1 < steps:
            x[t + 1, goes, 0] = 0.95 * x[t, :, 0] + 0.3 * draw.normal(size=nodes)
    panel = Panel(x, np.ones(x.shape, bool), index, names, ("y",), "1h", pl.DataFrame({"node": list(names)}))
    flows = pl.DataFrame(rows, schema=["time", "source", "target", "weight"], orient="row")
    error = {}
    for graph in ("flows", "flows-mean"):
        spec = wave_spec(
            task={"window": 4, "horizon": 1},
            model=SMALL | {"layers": 1, "snapshots": 2, "lags": 1, "graph": graph, "profile": 0},
            training={"epochs": 8, "learning_rate": 0.03},
        )
        dataset = DataSet(panel, flows, roads.manifest)
        prepared = prepare(spec, dataset)
        fitted = fit(prepared, spec.model, spec.training, folder=tmp_path, say=QUIET)
        cutoffs = range(prepared.ranges.validation_end, steps - 1)
        truth, _ = targets_at(prepared, cutoffs)
        error[graph] = np.abs(forecast_at(fitted.network, prepared, cutoffs, window=4) - truth).mean()
    zero = np.abs(truth).mean()
    assert error["flows"] < 0.5 * zero  # 0.3 is what can't be known
    assert error["flows-mean"] > 0.95 * zero
