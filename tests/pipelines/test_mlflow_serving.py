"""Plain MLflow serves a version: `mlflow models serve --env-manager local`, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.register import newest_window


@pytest.fixture(scope="module")
def scoring(tiny: Any) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mlflow = str(Path(sys.executable).with_name("mlflow"))
    words = ["models", "serve", "-m", "models:/tiny@champion", "--env-manager", "local", "-p", str(port)]
    # MLflow starts uvicorn by name, as it would with the environment active
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": tiny.registered.tracking_uri, "PATH": path}
    server = subprocess.Popen([mlflow, *words], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                if httpx.get(f"{url}/ping").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.mark.server
def test_plain_mlflow_serves_the_same_forecast(tiny: Any, scoring: str) -> None:
    window = newest_window(tiny.trained.prepared)
    answer = httpx.post(
        f"{scoring}/invocations", json={"dataframe_split": window.to_dict("split", index=False)}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    served = [row["forecast"] for row in answer.json()["predictions"]]
    from pipelines.experiment import load_champion

    expected = (
        load_champion("tiny", uri=tiny.registered.tracking_uri)[0]
        .forecast_panel(tiny.trained.prepared.panel)["forecast"]
        .to_list()
    )
    assert served == pytest.approx(expected)
