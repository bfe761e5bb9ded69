"""The synthetic tasks' commands in small: a table, a file, figures in MLflow, one message for a mistake."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from data.pna_multitask import draw_multitask
from pipelines.registry import client
from pipelines.synthetic import experiment, pna, second_minimum

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(run: Run) -> Run:
    return partial(run, "synthetic")


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_minimum, "JUDGED_SETS", 20)
    monkeypatch.setattr(second_minimum, "ORDERS", 2)
    monkeypatch.setattr(pna, "ORDERS", 2)

    def draw(train: int, far: int):  # type: ignore[no-untyped-def]
        return draw_multitask(train=train, validation=1, test=1, far=far)

    monkeypatch.setattr(experiment, "draw_multitask", draw)


def runs_of(task: str) -> list:  # type: ignore[type-arg]
    store = client()
    found = store.get_experiment_by_name("synthetic")
    return store.search_runs([found.experiment_id], f"params.task = '{task}'") if found else []


def test_the_second_minimum_ends_in_a_table_a_file_and_a_run_a_seed(run: Run, tmp_path: Path) -> None:
    trained = ["--assoc-weight", "0.01", "--steps", "2", "--seeds", "2", "--width", "8"]
    words = ["second-minimum", *trained, "--size", "2", "--size", "32"]
    code, told, wrong = run(*words, "--out", str(tmp_path / "results.parquet"))
    assert (code, wrong) == (0, "")
    assert "2 seeds" in told
    rows = pl.read_parquet(tmp_path / "results.parquet")
    assert rows.select("seed", "size").rows() == [(0, 2), (0, 32), (1, 2), (1, 32)]
    runs = runs_of("second-minimum")
    assert {one.data.params["seed"] for one in runs} == {"0", "1"}
    assert {(one.data.params["assoc_weight"], one.info.status) for one in runs} == {("0.01", "FINISHED")}
    course = client().get_metric_history(runs[0].info.run_id, "accuracy")
    assert {metric.step: metric.value for metric in course} == dict(
        rows.filter(pl.col("seed") == int(runs[0].data.params["seed"])).select("size", "accuracy").rows()
    )
    assert not [model for model in client().search_registered_models() if "synthetic" in model.name]


def test_the_pna_tasks_end_in_a_table_and_a_run(run: Run) -> None:
    code, told, wrong = run(*["pna", "--aggregation", "pna", "--steps", "2", "--graphs", "3", "--width", "8"])
    assert (code, wrong) == (0, "")
    for word in ("15-19", "eccentricity", "the mean", "1 seed"):
        assert word in told
    (one,) = runs_of("pna")
    assert {"log10_mse.sssp.15-19", "log10_mse.average.15-19", "loss", "validation"} <= set(one.data.metrics)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("second-minimum --aggregation lmc", "there are mean, sum, max, pna, gru, lcm, pyg-gru, pyg-lcm"),
        ("second-minimum --steps 0", "--steps is 0"),
        ("second-minimum --seeds 0", "--seeds is 0"),
        ("second-minimum --size 1", "--size is 1"),
        ("second-minimum --aggregation sum --assoc-weight 1", "of lcm alone"),
        ("second-minimum --out .", "is a folder"),
        ("pna --minutes 1 --steps 1", "give one of the two"),
        ("pna --minutes -1", "--minutes is -1"),
        ("pna --graphs 0", "--graphs is 0"),
    ],
)
def test_a_mistake_is_one_message_before_any_training(run: Run, words: str, told: str) -> None:
    code, out, wrong = run(*words.split())
    assert (code, out) == (2, "")
    assert told in wrong
    assert wrong.count("\n") == 1


def test_a_stop_says_what_is_lost_and_what_is_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = second_minimum.run

    def until_the_second(training, **words):  # type: ignore[no-untyped-def]
        if training.seed:
            raise KeyboardInterrupt
        return real(training, **words)

    monkeypatch.setattr(second_minimum, "run", until_the_second)
    words = ["--aggregation", "sum", "--steps", "1", "--seeds", "2", "--width", "8", "--size", "2"]
    code, _, wrong = run("second-minimum", *words)
    assert code == 130
    assert "starts anew" in wrong
    assert "the 1 seeds before are in MLflow" in wrong
    assert "goes on from there" not in wrong
