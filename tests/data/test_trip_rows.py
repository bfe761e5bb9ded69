"""Trips one by one are those that the counts are made of."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from data.bundled import HERE
from data.errors import TooManyRejected
from data.trip_rows import NO_PERSON, read_trip_rows
from data.trips import TripColumns, read_trips
from data.zones import ZoneTable

GREEN = TripColumns("lpep_pickup_datetime", "lpep_dropoff_datetime", "PULocationID", "DOLocationID")
RULES = {
    "timezone": "America/New_York",
    "interval": "1h",
    "start": datetime(2023, 1, 1),
    "end": datetime(2023, 4, 1),
    "repeated_hour": "first",
    "max_trip_hours": 6,
    "max_rejected_share": 0.05,
    "quarantine_examples": 3,
}


def test_the_green_taxi_rows_are_the_trips_that_are_counted() -> None:
    files = [HERE / "nyc_green_trips" / "trips_2023Q1.parquet"]
    zones = ZoneTable(HERE / "nyc_green_trips" / "zones.csv", id="LocationID", unknown=("264", "265"))
    one_by_one = read_trip_rows(files, GREEN, person=None, zones=zones, **RULES)
    counted = read_trips(files, GREEN, zones=zones, **RULES)
    assert len(one_by_one.rows) == counted.rows_used
    assert {k: n for k, n in one_by_one.rejections.counts.items() if k != NO_PERSON} == counted.rejections.counts
    assert counted.flows is not None
    flows = one_by_one.rows.group_by(pl.col("departure").alias("time"), "source", "target").len("weight")
    same = flows.with_columns(pl.col("weight").cast(pl.Int64)).sort("time", "source", "target")
    assert same.equals(counted.flows)


ROWS = """rider,from,to,begin,finish,fare
7,a,b,2023-01-05 08:00,2023-01-05 08:10,1
7,a,b,2023-01-05 08:00,2023-01-05 08:10,1
8,a,b,2023-01-05 08:00,2023-01-05 08:10,1
,a,b,2023-01-05 09:00,2023-01-05 09:10,1
"""


def rows_of(file: Path, person: str | None, share: float = 0.9) -> pl.DataFrame:
    columns = TripColumns("begin", "finish", "from", "to")
    return read_trip_rows([file], columns, person=person, zones=None, **{**RULES, "max_rejected_share": share}).rows


def test_copies_are_of_one_person_and_a_trip_of_nobody_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "trips.csv"
    file.write_text(ROWS)
    assert rows_of(file, "rider")["person"].to_list() == ["7", "8"]
    assert len(rows_of(file, None)) == 3
    with pytest.raises(TooManyRejected, match="1 no person"):
        rows_of(file, "rider", share=0.1)
