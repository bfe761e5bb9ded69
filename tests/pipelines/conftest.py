"""A small world for the steps behind ingestion: daily waves with noise, some of it missing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data.dataset import DataSet, Manifest
from data.panel import Panel
from pipelines.spec import Spec, parse_spec


@pytest.fixture(scope="session")
def waves() -> Callable[..., DataSet]:
    def make(steps: int = 400, nodes: int = 3, *, missing: float = 0.05, seed: int = 0) -> DataSet:
        draw = np.random.default_rng(seed)
        hour = np.arange(steps)[:, None, None]
        values = (
            20
            + 5 * np.sin(2 * np.pi * (hour + 3 * np.arange(nodes)[None, :, None]) / 24)
            + draw.normal(size=(steps, nodes, 1))
        )
        mask = draw.random(values.shape) >= missing
        index = pd.date_range("2024-01-01", periods=steps, freq="h", tz="Europe/Paris")
        names = tuple(f"n{i}" for i in range(nodes))
        panel = Panel(
            np.where(mask, values, np.nan), mask, index, names, ("y",), "1h", pl.DataFrame({"node": list(names)})
        )
        return DataSet(panel, None, manifest(f"waves{steps}x{nodes}s{seed}"))

    return make


def manifest(version: str) -> Manifest:
    return Manifest(
        name="waves",
        version=version,
        sources={},
        rows_read=0,
        rows_used=0,
        rejected={},
        notes={},
        source_columns={},
        span=("", ""),
        interval="1h",
        timezone="Europe/Paris",
        nodes=3,
        variables=["y"],
        observed_share=1.0,
        origin="",
        licence="",
        recipe="",
    )


@pytest.fixture(scope="session")
def wave_spec(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Spec]:
    def make(**tables: dict) -> Spec:
        raw = {
            "name": "waves",
            "data": {"kind": "long", "files": "waves.csv"},
            "task": {"window": 24, "horizon": 6} | tables.get("task", {}),
            "model": {
                k: v for k, v in ({"name": "gru", "hidden": 8} | tables.get("model", {})).items() if v is not None
            },
            "training": {"epochs": 4, "batch_size": 32} | tables.get("training", {}),
            "evaluation": {"baselines": ["naive", "seasonal_naive_day", "ridge"]} | tables.get("evaluation", {}),
            "registry": tables.get("registry", {}),
        }
        return parse_spec(raw, folder=tmp_path_factory.getbasetemp())

    return make


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("neither chromium nor google-chrome is on the path")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Callable[..., tuple[Any, list[str]]]:
    """Open a report: gives the page, and whatever it should not have done: complain, fail, or ask the network."""

    def call(report: Path, viewport: dict[str, int], **options: Any) -> tuple[Any, list[str]]:
        page = browser.new_page(viewport=viewport, **options)
        faults: list[str] = []
        is_bad = ("error", "warning").__contains__
        page.on("console", lambda message: faults.append(message.text) if is_bad(message.type) else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda ask: None if ask.url.startswith(("file://", "data:")) else faults.append(ask.url))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.goto(report.as_uri())
        page.wait_for_selector("#chart-training .main-svg")
        return page, faults

    return call
