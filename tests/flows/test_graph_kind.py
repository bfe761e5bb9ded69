"""A spec of edges goes through the same commands and flows as one of series."""

import sys
from pathlib import Path

import polars as pl
import pytest

from flows.artifacts import yardstick_rows
from flows.cli import main
from pipelines.graph_task.evaluate import GraphBacktest

SPEC = """
name = "pals"

[data]
kind = "edges"
files = "edges.csv"
interval = "rank"

[task]
kind = "links"
window = 2
top = 5

[model]
hidden = 4
head = 4

[training]
epochs = 1
negatives = 2

[evaluation]
baselines = ["repeat", "gcn"]
"""


@pytest.fixture
def pals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six nodes on a ring that turns by one place a step."""
    rows = [(f"n{u}", f"n{(u + 1 + step % 2) % 6}", step) for step in range(20) for u in range(6) if (u + step) % 3]
    pl.DataFrame(rows, schema=["source", "target", "time"], orient="row").write_csv(tmp_path / "edges.csv")
    (tmp_path / "pals.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path / "pals.toml"


def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["flockcast", *words])
    capsys.readouterr()
    try:
        main()
        code = 0
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    said = capsys.readouterr()
    return code, said.out + said.err


def test_the_commands_that_need_no_server(pals, capsys, monkeypatch) -> None:
    code, said = told(capsys, monkeypatch, "check", "pals.toml")
    assert code == 0
    assert "evolvegcn-h: 2 steps of rank in, the links of the step after out" in said
    code, said = told(capsys, monkeypatch, "ingest", "pals.toml")
    assert (code, "80 read, 80 used" in said) == (0, True)
    code, said = told(capsys, monkeypatch, "train", "pals.toml")
    assert code == 0
    assert all(f"  {model} " in said for model in ("evolvegcn-h *", "gcn", "repeat"))
    code, said = told(capsys, monkeypatch, "forecast", "pals.toml", "--horizon", "3")
    assert (code, "horizon: the forecast of a graph is of the next step" in said) == (2, True)


def test_the_tasks_of_the_flows_run_from_sources_to_a_report(pals) -> None:
    """Take the decorators off: the same functions, no server."""
    from flows.forecast import predict
    from flows.ingest import read_sources
    from flows.pipeline import report
    from flows.reuse import value_of
    from flows.train import enrol, fit, training_record
    from pipelines.spec import load_spec

    spec = load_spec(pals)
    dataset = value_of(read_sources.fn(spec))
    trained = value_of(fit.fn(spec, dataset))
    registered = value_of(enrol.fn(spec, dataset, trained))
    assert training_record(dataset, registered)["alias"] == "champion"
    found, file = predict.fn(spec, dataset)
    assert pl.read_parquet(file).columns == ["source", "target", "score"]
    assert len(pl.read_parquet(file)) == 3  # only nodes across the ring were never linked, each pair told once
    assert "EvolveGCN-H" in report.fn(spec, dataset, trained, registered, found).read_text()


def test_an_edge_list_of_the_default_columns_goes_from_init_to_a_backtest(pals, capsys, monkeypatch) -> None:
    """Nothing is edited but how long it trains."""
    assert told(capsys, monkeypatch, "init", "mine.toml", "--kind", "edges", "--data", "mine.csv")[0] == 0
    days = [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(40)]
    rows = [(f"n{u}", f"n{(u + 1 + i % 2) % 6}", day) for i, day in enumerate(days) for u in range(6) if (u + i) % 3]
    pl.DataFrame(rows, schema=["source", "target", "time"], orient="row").write_csv("mine.csv")
    code, said = told(capsys, monkeypatch, "check", "mine.toml")
    assert code == 0
    assert "read 160 rows from mine.csv" in said, said
    assert "evolvegcn-h: 11 steps of 1d in, the links of the step after out" in said
    spec = Path("mine.toml").read_text()
    Path("mine.toml").write_text(spec.replace("# epochs = 100", "epochs = 1").replace("# hidden = 64", "hidden = 4"))
    code, said = told(capsys, monkeypatch, "train", "mine.toml")
    assert code == 0
    assert all(f"  {model} " in said for model in ("evolvegcn-h *", "gcn", "gcn_gru", "repeat_and_activity"))


ABOUT_NODES = """
name = "moods"

[data]
kind = "edges"
files = "edges.csv"
interval = "rank"

[data.nodes]
files = "nodes.csv"
unknown = ["?"]

[data.nodes.columns]
time = "time"
label = "mood"
features = ["size"]

[task]
kind = "node_labels"
window = 2

[model]
hidden = 4
head = 4

[training]
epochs = 1

[evaluation]
baselines = ["majority", "gcn"]
"""


def test_classes_of_nodes_go_through_the_same_commands_and_flows(pals, capsys, monkeypatch) -> None:
    from flows.forecast import predict
    from flows.pipeline import report
    from flows.reuse import value_of
    from flows.train import enrol, fit
    from pipelines.graph_task.ingest import ingest_or_reuse
    from pipelines.spec import load_spec

    moods = ("good", "bad", "?")
    rows = [(f"n{u}", step, moods[(u + step) % 3], u * step % 7) for step in range(20) for u in range(7)]
    pl.DataFrame([*rows, ("n1", 3, "good", 5)], schema=["node", "time", "mood", "size"], orient="row").write_csv(
        "nodes.csv"
    )
    Path("moods.toml").write_text(ABOUT_NODES)
    code, said = told(capsys, monkeypatch, "ingest", "moods.toml")
    assert (code, "221 read, 220 used, 1 rejected (1 second row of a node at a step)" in said) == (0, True)
    code, said = told(capsys, monkeypatch, "train", "moods.toml")
    assert code == 0
    assert all(f"  {model} " in said for model in ("evolvegcn-h *", "gcn", "majority"))

    spec = load_spec("moods.toml")
    dataset, reused = ingest_or_reuse(spec)
    assert reused
    trained = value_of(fit.fn(spec, dataset))
    registered = value_of(enrol.fn(spec, dataset, trained))
    found, file = predict.fn(spec, dataset)
    assert pl.read_parquet(file).columns == ["node", "class_bad", "class_good"]
    assert len(pl.read_parquet(file)) == 7  # n6 has no edge
    assert "F1 of the rare class" in report.fn(spec, dataset, trained, registered, found).read_text()

    Path("moods.toml").write_text(ABOUT_NODES.replace('"mood"', '"moood"'))
    code, said = told(capsys, monkeypatch, "check", "moods.toml")
    assert (code, "no column 'moood' (did you mean 'mood'?)" in said) == (2, True)


def test_yardsticks_of_a_graph_are_shown_the_best_first() -> None:
    scores = pl.DataFrame({"model": ["ours", "repeat", "gcn"], "map": [0.2, 0.5, 0.1], "mrr": [0.3, 0.4, 0.2]})
    rows = yardstick_rows(GraphBacktest("as it was", "ours", ("map", "mrr"), scores, pl.DataFrame()))
    assert [row["model"] for row in rows] == ["repeat", "ours *", "gcn"]
    assert rows[0] == {"model": "repeat", "MAP": "0.5", "MRR": "0.4"}
