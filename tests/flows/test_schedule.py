import sys

import pytest

from pipelines.errors import ServerError, SpecError


@pytest.mark.parametrize("cron", ["", "every day", "61 * * * *", "* * * *", "H 5 * * *"])
def test_a_wrong_cron_line_is_shown_how_one_is_written(cron):
    from flows.schedule import schedule

    with pytest.raises(SpecError, match=r"is no cron line; write minute, hour"):
        schedule("nyc-green", cron, "UTC")


def test_a_wrong_time_zone_is_named():
    from flows.schedule import schedule

    with pytest.raises(SpecError, match="'Europe/Olso' is no IANA time zone"):
        schedule("nyc-green", "0 5 * * *", "Europe/Olso")


def test_a_wrong_spec_is_not_scheduled(no_server):
    from flows.schedule import schedule

    with pytest.raises(SpecError, match="there is no spec at absent"):
        schedule("absent", "0 5 * * *", "UTC")


def test_without_a_server_one_is_told_how_to_start_it(no_server):
    from flows.schedule import schedule

    with pytest.raises(ServerError, match="prefect server start.*PREFECT_API_URL"):
        schedule("nyc-green", "0 5 * * *", "UTC")


def test_a_bundled_name_stays_and_a_path_becomes_absolute(monkeypatch, tmp_path):
    from flows.names import absolute_spec

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").touch()
    assert absolute_spec("nyc-green") == "nyc-green"
    assert absolute_spec("mine.toml") == str(tmp_path / "mine.toml")


@pytest.mark.server
def test_a_schedule_fires(server, spec_file, start, wait_for, ask):
    """The server's own scheduler plans the run, and a worker in an empty folder carries it out."""
    from flows.schedule import schedule, scheduled, unschedule

    # a sixth field is seconds: three times a minute, so that the test need not wait for the next full one
    assert schedule(str(spec_file), "* * * * * */20", "Europe/Oslo", name="often").startswith("often runs at")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "flockcast", "--limit", "1"]
    log = start(command, PREFECT_API_URL=server, PREFECT_WORKER_QUERY_SECONDS="2")

    def ended():
        runs = ask("flow_runs", deployments={"name": {"any_": ["often"]}}, sort="END_TIME_DESC")
        return [run for run in runs if run["state"]["type"] in ("COMPLETED", "FAILED", "CRASHED")]

    wait_for(ended, "a scheduled run to end", log)
    run = ended()[0]
    assert (run["state"]["name"], run["auto_scheduled"], run["name"]) == ("Completed", True, "pipeline tiny")
    [row] = scheduled()
    assert (row.name, row.spec, row.timezone) == ("often", str(spec_file), "Europe/Oslo")
    assert row.next_run is not None
    unschedule("often")
    assert scheduled() == []
    with pytest.raises(SpecError, match="nothing called often is scheduled; these are: none"):
        unschedule("often")
