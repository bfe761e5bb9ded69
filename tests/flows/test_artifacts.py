from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import polars as pl

from data.dataset import Manifest, Release
from flows.artifacts import key, quality_rows, result_page, yardstick_rows
from pipelines.privacy.claim import Claim, Protection
from pipelines.privacy.mechanisms import GeometricRelease


def test_every_row_of_the_source_is_accounted_for_by_reason():
    manifest = SimpleNamespace(
        rows_read=2000, rows_used=1990, rejected={"duplicate": 7, "unknown zone": 3}, notes={"repeated hour": 12}
    )
    assert [(row["rows"], row["count"], row["share"]) for row in quality_rows(manifest)] == [
        ("read", "2,000", "100.00%"),
        ("used", "1,990", "99.50%"),
        ("rejected: duplicate", "7", "0.35%"),
        ("rejected: unknown zone", "3", "0.15%"),
        ("note: repeated hour", "12", "0.60%"),
    ]


def test_a_source_without_rows_has_a_table_too():
    empty = SimpleNamespace(rows_read=0, rows_used=0, rejected={}, notes={})
    assert [row["share"] for row in quality_rows(empty)] == ["0.00%", "0.00%"]


def test_yardsticks_are_in_the_order_of_their_error_and_ours_is_marked():
    errors = {"gru": 2.0, "naive": 3.5, "ridge": 1.25}
    result = SimpleNamespace(model="gru", forecasts=errors, total=lambda model, metric: errors[model])
    assert [(row["model"], row["MAE"]) for row in yardstick_rows(result)] == [
        ("ridge", "1.25"),
        ("gru *", "2"),
        ("naive", "3.5"),
    ]


def test_results_say_where_the_report_and_the_forecast_are():
    from pipelines.results import Forecast, Registered

    registered = Registered("tiny", "3", "challenger", "abc", "sqlite:///x", "challenger: not better than version 2")
    found = Forecast("gru", "2", pd.Timestamp("2024-03-20 23:00", tz="UTC"), pl.DataFrame())
    page = result_page(registered, found, Path("/runs/a b/report.html"), Path("/runs/a b/forecast.parquet"))
    assert "**tiny version 3**, challenger: not better than version 2" in page
    assert "gru version 2 from 2024-03-20T23:00:00+00:00" in page
    assert "`/runs/a b/report.html`, also beside the MLflow run `abc`" in page
    assert "`/runs/a b/forecast.parquet`" in page


def test_keys_are_what_prefect_takes():
    assert key("my_trips", "data-quality") == "my-trips-data-quality"


def test_of_a_private_release_no_number_of_rows_is_shown():
    claim = Claim("trip", "add or remove", 1.0, 1e-6, "an accountant", GeometricRelease(1, 1.0))
    protection = Protection(claim, 3, "hash", "run", "released_input").to_json()
    manifest = Manifest(
        name="x",
        version="v",
        sources={},
        rows_read=0,
        rows_used=0,
        rejected={},
        notes={},
        source_columns={},
        span=("2024-01-01", "2024-01-02"),
        interval="1h",
        timezone="UTC",
        nodes=1,
        variables=["y"],
        observed_share=1.0,
        origin="",
        licence="",
        recipe="r",
        release=Release(protection, {"y": 1.0}, {"2024-01-01": 0}, ["run"]),
    )
    (row,) = quality_rows(manifest)
    assert row["rows"].startswith("not told")
    assert row["count"] == ""
    assert row["share"].startswith("Protects one trip: epsilon = 1")
