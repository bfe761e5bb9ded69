"""The main job as a Prefect server shows it, run twice: once for real, once with nothing changed."""

import pytest

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def outcomes(server, spec_file):
    from flows.pipeline import pipeline

    return [pipeline(str(spec_file)) for _ in range(2)]


@pytest.fixture(scope="module")
def runs(outcomes, ask):
    """The two flow runs, the first one first."""
    return ask("flow_runs", sort="START_TIME_ASC", flows={"name": {"any_": ["pipeline"]}})


def tasks_of(run, ask):
    tasks = ask("task_runs", flow_runs={"id": {"any_": [run["id"]]}}, sort="EXPECTED_START_TIME_ASC")
    return {task["name"]: task["state"] for task in tasks}


def test_the_run_and_its_tasks_have_names_that_read_well(runs, ask):
    assert [(run["name"], run["state"]["name"]) for run in runs] == [("pipeline tiny", "Completed")] * 2
    assert set(tasks_of(runs[0], ask)) == {
        "ingest tiny",
        "train gru on tiny",
        "register tiny",
        "forecast tiny",
        "report tiny",
    }


def test_a_first_run_re_uses_nothing(runs, ask):
    assert {state["name"] for state in tasks_of(runs[0], ask).values()} == {"Completed"}


def test_what_an_equal_run_left_is_cached_and_says_why(outcomes, runs, ask):
    states = tasks_of(runs[1], ask)
    cached = {name: state["message"] for name, state in states.items() if state["name"] == "Cached"}
    assert set(cached) == {"ingest tiny", "train gru on tiny", "register tiny"}
    assert outcomes[0]["dataset_version"] in cached["ingest tiny"]
    assert cached["register tiny"] == "version 1 is this very model"


def test_equal_runs_have_equal_outcomes(outcomes):
    assert outcomes[0] == outcomes[1]
    assert (outcomes[0]["version"], outcomes[0]["alias"]) == ("1", "champion")


def test_the_outcome_names_files_that_are_there(outcomes):
    import polars as pl

    forecast = pl.read_parquet(outcomes[0]["forecast"])
    assert set(forecast["unique_id"]) == {"north", "east", "south"}
    with open(outcomes[0]["report"], encoding="utf-8") as page:
        assert page.read(15).lower() == "<!doctype html>"


def test_tables_results_and_progress_are_artifacts(runs, ask):
    found = {row["key"]: row for row in ask("artifacts", flow_runs={"id": {"any_": [runs[1]["id"]]}})}
    assert set(found) == {"tiny-data-quality", "tiny-yardsticks", "tiny-results", "tiny-progress"}
    assert found["tiny-progress"]["data"] == 100
    assert all(model in found["tiny-yardsticks"]["data"] for model in ("gru *", "naive", "ridge"))
    assert "version 1" in found["tiny-results"]["data"]


def test_the_lines_of_the_terminal_are_in_the_log_of_the_run(outcomes, runs, ask, wait_for):
    def logged():
        return {row["message"] for row in ask("logs", logs={"flow_run_id": {"any_": [runs[1]["id"]]}})}

    wait_for(lambda: f"report: {outcomes[1]['report']}" in logged(), "the log to reach the server")
    assert "registry: tiny version 1 is this very model, re-used (champion)" in logged()


def test_train_and_forecast_alone_meet_the_same_version(outcomes, spec_file):
    from flows.forecast import forecast
    from flows.ingest import ingest
    from flows.train import train

    version = outcomes[0]["dataset_version"]
    assert ingest(str(spec_file)) == {"name": "tiny", "version": version, "rows_read": 1440, "rows_used": 1440}
    trained = train(str(spec_file))
    assert (trained["dataset_version"], trained["version"]) == (version, "1")
    made = forecast(str(spec_file))
    assert (made["forecast"], made["version"]) == (outcomes[0]["forecast"], "1")
    assert made["cutoff"] == "2024-03-20T23:00:00+00:00"


def test_wrong_data_fails_at_once_with_its_own_message(server, spec_file, tmp_path, ask):
    """Without retries, which would keep a person waiting for more than a minute for the same answer."""
    from data.errors import DataError
    from flows.ingest import ingest

    wrong = tmp_path / "wrong.toml"
    wrong.write_text(spec_file.read_text().replace('"tiny"', '"wrong"').replace("tiny.csv", "absent.csv"))
    with pytest.raises(DataError, match=r"absent\.csv"):
        ingest(str(wrong))
    task = next(row for row in ask("task_runs", sort="END_TIME_DESC") if row["name"] == "ingest wrong")
    assert (task["run_count"], task["state"]["type"]) == (1, "FAILED")


def test_steps_run_without_their_flow(spec_file, monkeypatch, tmp_path, capsys):
    """Take the decorators off: the same functions, no server, lines on the terminal."""
    from flows.ingest import read_sources
    from flows.reuse import value_of
    from flows.train import fit
    from pipelines.spec import load_spec

    monkeypatch.setenv("FLOCKCAST_HOME", str(tmp_path))
    spec = load_spec(spec_file)
    dataset = value_of(read_sources.fn(spec))
    assert value_of(read_sources.fn(spec)).manifest.version == dataset.manifest.version
    trained = value_of(fit.fn(spec, dataset))
    assert trained.evaluated.fitted.key == value_of(fit.fn(spec, dataset)).evaluated.fitted.key
    assert "re-used" in capsys.readouterr().out
