from pathlib import Path

import numpy as np
import polars as pl
import pytest

from data.errors import DataError, TooManyRejected
from data.od import OdColumns
from data.series import read_long
from data.series_edges import with_edges

COLUMNS = OdColumns(time="day", source="from", target="to", weight="people")
GOOD = ("2024-01-01,a,b,3", "2024-01-01,a,b,2.5", "2024-01-02,b,b,1", "2024-01-03,a,b,0")
BAD = {
    "edge: unparsable time": "once,a,b,1",
    "edge: outside the span": "2024-01-04,a,b,1",
    "edge: unknown zone": "2024-01-02,a,z,1",
    "edge: not a number": "2024-01-02,a,b,many",
    "edge: negative count": "2024-01-02,a,b,-1",
    "edge: duplicate": GOOD[0],
}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    rows = [f"{node},2024-01-0{day},{day}" for node in "ab" for day in (1, 2, 3)]
    (tmp_path / "cases.csv").write_text("\n".join(["unique_id,ds,y", *rows]))
    return tmp_path


def read(folder: Path, *rows: str, share: float = 1.0):
    (folder / "moves.csv").write_text("\n".join(["day,from,to,people", *rows]))
    cases = read_long([folder / "cases.csv"], interval="1d", timezone="Europe/London")
    return cases, with_edges(cases, [folder / "moves.csv"], COLUMNS, max_rejected_share=share)


def test_edges_become_flows_and_leave_the_series_alone(series: Path) -> None:
    cases, both = read(series, *GOOD)
    np.testing.assert_array_equal(both.panel.values, cases.panel.values)
    told = both.flows.with_columns(pl.col("time").dt.strftime("%F %H:%M"))
    assert told.rows() == [("2024-01-01 00:00", "a", "b", 5.5), ("2024-01-02 00:00", "b", "b", 1.0)]
    assert both.notes["edge: added to another row of the same time, source and target"] == 1
    assert set(both.source_columns) == {"unique_id", "ds", "y", *(f"edge: {name}" for name in COLUMNS.names())}


def test_every_row_of_both_files_is_used_or_has_a_reason(series: Path) -> None:
    cases, both = read(series, *GOOD, *BAD.values())
    assert {reason: count for reason, count in both.rejections.counts.items() if count} == dict.fromkeys(BAD, 1)
    assert both.rows_read == cases.rows_read + len(GOOD) + len(BAD)
    assert both.rows_used == cases.rows_used + len(GOOD)
    assert sorted(both.rejections.examples["reason"]) == sorted(BAD)


def test_too_many_useless_edges_stop_the_run(series: Path) -> None:
    with pytest.raises(TooManyRejected, match="unknown zone"):
        read(series, *GOOD, BAD["edge: unknown zone"], share=0.1)


def test_a_missing_column_of_the_edges_is_named(series: Path) -> None:
    with pytest.raises(DataError, match="'peoples'"):
        with_edges(read(series, *GOOD)[0], [series / "moves.csv"], OdColumns("day", "from", "to", "peoples"))
