"""One real Prefect server for all tests of flows, with homes of its own: starting one takes up to a minute."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from flows.cli import main

PATIENCE_SECONDS = 180  # start-up was seen to take 50 s on a busy machine

SPEC = """
name = "tiny"

[data]
kind = "long"
files = "tiny.csv"
interval = "1h"

[task]
window = 24
horizon = 6

[model]
name = "gru"
hidden = 8

[training]
epochs = 2

[evaluation]
baselines = ["naive", "ridge"]
stride = 6
"""


@pytest.fixture(scope="session")
def spec_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three noisy daily waves, hourly for 20 days, and an experiment that is done in seconds."""
    folder = tmp_path_factory.mktemp("spec")
    hours = pd.date_range("2024-03-01", periods=480, freq="h")
    noise = np.random.default_rng(7).normal(scale=0.3, size=(3, len(hours)))
    series = [
        pd.DataFrame(
            {"unique_id": name, "ds": hours, "y": 5 + np.sin(hours.hour / 24 * 2 * np.pi + phase) + noise[phase]}
        )
        for phase, name in enumerate(("north", "east", "south"))
    ]
    pd.concat(series).to_csv(folder / "tiny.csv", index=False)
    (folder / "tiny.toml").write_text(SPEC)
    return folder / "tiny.toml"


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For subprocesses: fresh homes, and no server named."""
    home = tmp_path_factory.mktemp("homes")
    unset = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    ours = {"PREFECT_HOME": str(home / "prefect"), "FLOCKCAST_HOME": str(home / "flockcast")}
    return {**inherited, **ours, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


@pytest.fixture(scope="session")
def server_url(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server whose scheduler looks for work every two seconds."""
    url = f"http://127.0.0.1:{free_port()}/api"
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", url.split(":")[2].removesuffix("/api")]
    quick = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2", "PREFECT_UI_ENABLED": "0"}
    with running(command, {**environment, **quick}, tmp_path_factory.mktemp("server")) as log:
        wait_until(lambda: answers(f"{url}/health"), "the Prefect server to answer", log)
        yield url


@pytest.fixture(scope="module")
def server(server_url: str, environment: dict[str, str]) -> Iterator[str]:
    """This process reports to that server, and keeps its data in the home of the tests."""
    from prefect.logging.handlers import APILogHandler
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    settings = {PREFECT_API_URL: server_url, PREFECT_HOME: Path(environment["PREFECT_HOME"])}
    with temporary_settings(settings), pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOCKCAST_HOME", environment["FLOCKCAST_HOME"])
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield server_url
        APILogHandler().flush()  # while there is a server to take the last lines


@pytest.fixture
def no_server() -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture(scope="module")
def ask(server: str) -> Callable[..., list[dict[str, Any]]]:
    """All rows that the server has of a kind: `ask("flow_runs")`, `ask("logs", sort="TIMESTAMP_ASC")`."""

    def rows(kind: str, **query: object) -> list[dict[str, Any]]:
        answer = httpx.post(f"{server}/{kind}/filter", json=query, timeout=60)
        answer.raise_for_status()
        return list(answer.json())

    return rows


Start = Callable[..., Path]


@pytest.fixture(scope="module")
def start(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a command in an empty folder, and end it after the tests; gives its log."""
    with ExitStack() as stack:
        yield lambda command, **more: stack.enter_context(
            running(command, {**environment, **more}, tmp_path_factory.mktemp("elsewhere"))
        )


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    return wait_until


def wait_until(claim: Callable[[], object], what: str, log: Path | None = None) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not claim():
        if time.monotonic() > deadline:
            said = log.read_text()[-3000:] if log else ""
            raise TimeoutError(f"waited {PATIENCE_SECONDS} s for {what}\n{said}")
        time.sleep(0.3)


@contextmanager
def running(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[Path]:
    log = folder / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=out, stderr=out, start_new_session=True)
    try:
        yield log
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C first, which Prefect's commands tidy up on."""
    for how in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, how)
            process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A command line in this process: exit code, what it printed, and what it complained of."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["flockcast", *words])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        told = capsys.readouterr()
        return code, told.out, told.err

    return call
