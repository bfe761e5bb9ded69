import os
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from pipelines.errors import ServerError

PROGRAM = """
from flows.server import TiedServer, reach_server
from flows.ingest import ingest
import signal, sys

reach_server()
ingest(sys.argv[1])
print("kept at", TiedServer().api_url, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("name", ["fastapi", "sqlalchemy"])
def test_the_libraries_that_break_the_server_when_newer_are_inside_our_caps(name):
    """With a newer sqlalchemy schedules silently never fire; with a newer fastapi filters are refused."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    [ours] = [r for r in map(Requirement, project["project"]["dependencies"]) if r.name == name]
    assert any(part.operator == "<" for part in ours.specifier)
    assert ours.specifier.contains(version(name))


@pytest.mark.server
def test_a_filter_with_a_null_limit_is_answered(server):
    assert httpx.post(f"{server}/flow_runs/filter", json={"limit": None}, timeout=60).status_code == 200


def test_a_server_that_does_not_answer_is_one_message():
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from flows.server import reach_server

    nobody = "http://127.0.0.1:9/api"
    with (
        temporary_settings({PREFECT_API_URL: nobody, PREFECT_CLIENT_MAX_RETRIES: 0}),
        pytest.raises(ServerError, match=f"the Prefect server at {nobody} does not answer"),
    ):
        reach_server()


@pytest.mark.server
def test_a_run_without_a_server_has_a_temporary_one_that_a_kill_ends_too(environment, spec_file, tmp_path, wait_for):
    """Ctrl-C and exits are Prefect's to handle; a kill -9 gives Python no chance to end what it started."""
    lines, errors = tmp_path / "lines.txt", tmp_path / "errors.txt"
    homes = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "FLOCKCAST_HOME": str(tmp_path / "flockcast"),
        "PREFECT_API_URL": "",
    }
    command = [sys.executable, "-c", PROGRAM, str(spec_file)]
    with lines.open("w") as out, errors.open("w") as err:
        run = subprocess.Popen(
            command, env={**environment, **homes}, cwd=tmp_path, stdout=out, stderr=err, start_new_session=True
        )
    try:
        wait_for(lambda: "kept at" in lines.read_text() or run.poll() is not None, "the run to end", errors)
        address = lines.read_text().rsplit("kept at ", 1)[-1].strip()
        assert listens(address), errors.read_text()
        said = lines.read_text().splitlines()
        assert len(said) == len(set(said)) > 2  # nothing twice
        assert not re.search(r"\| (INFO|WARNING|ERROR) +\|", lines.read_text() + errors.read_text())
        run.kill()
        run.wait()
        wait_for(lambda: not listens(address), "the temporary server to end")
    finally:
        with suppress(ProcessLookupError):  # what a failed test would leave behind
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def listens(address: str) -> bool:
    try:
        httpx.get(f"{address}/health", timeout=60)
    except httpx.TransportError:
        return False
    return True
