from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.errors import DataError, TooManyRejected
from data.od import REASONS, OdColumns, read_od
from data.zones import ZoneTable

NOON = datetime(2024, 3, 1, 12)
HOUR = timedelta(hours=1)


@pytest.fixture
def read(tmp_path):
    def read(rows, **options):
        file = tmp_path / "od.parquet"
        pl.DataFrame(rows, schema=["time", "source", "target", "weight"], orient="row").write_parquet(file)
        return read_od([file], OdColumns(), **{"timezone": "UTC", "max_rejected_share": 1} | options)

    return read


def test_counts_become_flows_and_the_sums_of_each_zone(read):
    result = read([(NOON, 1, 2, 3), (NOON, 1, 10, 4), (NOON + HOUR, 2, 1, 5)])
    assert result.panel.nodes == ("1", "2", "10")
    assert result.panel.values[0].tolist() == [[0, 7], [3, 0], [4, 0]]  # inflow, outflow
    assert result.panel.values[1].tolist() == [[5, 0], [0, 5], [0, 0]]
    assert result.flows.dtypes == [pl.Datetime("us", "UTC"), pl.String, pl.String, pl.Int64]
    assert result.flows.rows()[-1] == ((NOON + HOUR).replace(tzinfo=UTC), "2", "1", 5)


def test_a_step_without_a_row_is_not_observed_and_one_with_a_row_is_observed_everywhere(read):
    result = read([(NOON, "1", "2", 0), (NOON + 2 * HOUR, "1", "2", 1)], end=NOON + 4 * HOUR)
    assert result.panel.mask.all(axis=(1, 2)).tolist() == [True, False, True, False]
    assert np.isnan(result.panel.values[[1, 3]]).all()
    assert result.panel.values[0].sum() == 0
    assert result.flows["weight"].to_list() == [1]


def test_several_rows_of_a_cell_are_added_and_noted_where_the_time_is_the_same(read):
    result = read([(NOON, "1", "2", 3), (NOON, "1", "2", 4), (NOON + HOUR / 4, "1", "2", 5)])
    assert result.flows["weight"].to_list() == [12]
    assert result.notes == {"added to another row of the same time, source and target": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((None, "1", "2", -1.0), "unparsable time"),
        ((NOON - HOUR, "1", "2", -1.0), "outside the span"),
        ((NOON, None, "2", -1.0), "unknown zone"),
        ((NOON, "1", "77", None), "unknown zone"),
        ((NOON, "1", "2", None), "not a number"),
        ((NOON, "1", "2", float("nan")), "not a number"),
        ((NOON, "1", "2", float("inf")), "not a number"),
        ((NOON, "1", "2", -1.0), "negative count"),
        ((NOON, "1", "2", 5.0), "duplicate"),
    ],
)
def test_a_row_is_rejected_under_the_first_reason_that_fits(read, tmp_path, row, reason):
    (tmp_path / "zones.csv").write_text("id\n1\n2\n")
    zones = ZoneTable(tmp_path / "zones.csv", id="id")
    result = read([(NOON, "1", "2", 5.0), row], start=NOON, zones=zones)
    assert {name: count for name, count in result.rejections.counts.items() if count} == {reason: 1}
    assert tuple(result.rejections.counts) == REASONS
    assert result.flows["weight"].to_list() == [5]


def test_text_counts_are_read_and_what_is_none_is_shown(tmp_path):
    (tmp_path / "od.csv").write_text("time,source,target,weight\n2024-03-01 12:00,01,2,7\n2024-03-01 12:00,01,2,many\n")
    result = read_od([tmp_path / "od.csv"], OdColumns(), timezone="UTC", max_rejected_share=0.5)
    assert result.panel.nodes == ("01", "2")
    assert result.rejections.examples.rows() == [("not a number", "2024-03-01 12:00", "01", "2", "many")]
    with pytest.raises(TooManyRejected, match="1 not a number"):
        read_od([tmp_path / "od.csv"], OdColumns(), timezone="UTC")


def test_fractions_stay_fractions(read):
    assert read([(NOON, "1", "2", 0.5), (NOON, "1", "2", 0.25)]).flows["weight"].to_list() == [0.75]


def test_an_interval_must_be_given(read):
    with pytest.raises(DataError, match="interval = 'auto'"):
        read([(NOON, "1", "2", 1)], interval="auto")


counts = st.one_of(st.none(), st.integers(-2, 50).map(float), st.just(float("nan")))
rows = st.tuples(
    st.sampled_from([NOON, NOON + HOUR / 2, NOON + 3 * HOUR, None]), *[st.sampled_from(["1", "2", None])] * 2, counts
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.lists(rows, max_size=20))
def test_every_row_is_used_or_rejected_once_and_no_count_is_lost(read, dirty):
    table = [(NOON, "1", "2", 1.0), *dirty]
    result = read(table)
    assert result.rows_read == len(table) == result.rows_used + sum(result.rejections.counts.values())
    good = {row for row in table if None not in row and row[3] >= 0}
    assert result.flows["weight"].sum() == sum(row[3] for row in good)
    for variable in (0, 1):
        assert np.nansum(result.panel.values[..., variable]) == result.flows["weight"].sum()
