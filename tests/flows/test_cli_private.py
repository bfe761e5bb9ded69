"""What the command line says of a private model, and what it does not write."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.privacy.access import access_log
from pipelines.privacy.claim import Protection
from pipelines.privacy.serving import RAW

Run = Callable[..., tuple[int, str, str]]
Make = Callable[[Protection], Any]


def test_a_forecast_with_raw_counts_is_one_message_and_no_file_until_it_is_internal(
    private: Make, dp_sgd: Protection, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = private(dp_sgd)
    monkeypatch.chdir(tmp_path)
    code, _, wrong = run("forecast", str(world.spec_path))
    assert code == 1
    assert wrong.startswith(
        "error: this forecast contains today's raw counts, so it is not written to forecast.parquet"
    )
    assert not (tmp_path / "forecast.parquet").exists()
    code, told, _ = run("forecast", str(world.spec_path), "--internal")
    assert code == 0
    assert told.rstrip().endswith(RAW)
    assert pl.read_parquet_metadata(tmp_path / "forecast.parquet")["flockcast.privacy.mark"] == RAW
    assert len(access_log().read_text().splitlines()) == 2, "the refused one was computed too"
