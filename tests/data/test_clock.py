from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clock import in_zone, read_instants
from data.errors import DataError

PARIS, NEW_YORK = "Europe/Paris", "America/New_York"
SPRING = {PARIS: datetime(2020, 3, 29, 2, 30), NEW_YORK: datetime(2023, 3, 12, 2, 30)}
AUTUMN = {PARIS: datetime(2020, 10, 25, 2, 30), NEW_YORK: datetime(2023, 11, 5, 1, 30)}


def read(values, timezone="UTC", repeated_hour="first", dtype=None):
    frame = pl.LazyFrame({"t": pl.Series(values, dtype=dtype)})
    times = read_instants(frame, "t", timezone=timezone, repeated_hour=repeated_hour)
    return frame.select(
        instant=times.instant, latest=times.latest, reason=times.reason, repeated=times.repeated
    ).collect()


@pytest.mark.parametrize(
    "text",
    [
        "2024-03-01T08:05:00Z",
        "2024-03-01T08:05Z",
        "2024-03-01 09:05:00+01:00",
        "2024-03-01T09:05:00.000+0100",
        "2024-03-01 09:05:00+01",
        "2024-03-01T03:05-05:00",
        "2024-03-01T08:05:00",
        "2024-03-01 08:05",
        "2024/03/01 08:05:00",
        "2024/3/1 8:05",
        " 2024-03-01 08:05:00.000000 ",
        "1 March 2024 08:05",
        "01-Mar-2024 08:05:00",
        "Mar 1, 2024 08:05",
    ],
)
def test_one_instant_is_understood_in_every_common_spelling(text):
    assert read([text])["instant"].to_list() == [datetime(2024, 3, 1, 8, 5, tzinfo=UTC)]


@pytest.mark.parametrize(
    "text", ["2024-03-01", "2024/03/01", "2024-03", "20240301", "1-Mar-2024", "March 2024", "Mar. 1, 2024"]
)
def test_a_date_begins_at_local_midnight(text):
    assert read([text], NEW_YORK)["instant"].to_list() == [datetime(2024, 3, 1, 5, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("text", "month"), [("2024", 1), ("2024Q1", 1), ("2024-Q2", 4), ("2024 q3", 7), ("2024Q4", 10)]
)
def test_years_and_quarters_begin_on_their_first_day(text, month):
    assert read([text])["instant"].to_list() == [datetime(2024, month, 1, tzinfo=UTC)]


@pytest.mark.parametrize(("text", "year"), [("1/22/20", 2020), ("12/31/69", 2069), ("31.12.70", 1970)])
def test_years_of_two_digits_are_of_this_century_or_the_last(text, year):
    assert read([text])["instant"].dt.year().to_list() == [year]


def test_spellings_may_change_from_row_to_row():
    read_all = read(["2024-03-01", "2024-03-01 08:05", "2024-03-01T08:05:00Z"], NEW_YORK)["instant"]
    assert read_all.dt.convert_time_zone("UTC").dt.hour().to_list() == [5, 13, 8]


def test_times_with_an_offset_are_converted_and_dates_begin_at_midnight():
    aware = read([datetime(2024, 7, 1, 12, tzinfo=UTC)], PARIS)["instant"]
    assert aware.dtype == pl.Datetime("us", PARIS)
    assert aware.dt.hour().to_list() == [14]
    assert read([datetime(2024, 7, 1).date()], PARIS)["instant"].dt.hour().to_list() == [0]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_the_unit_of_a_column_does_not_matter(unit):
    assert read([datetime(2024, 7, 1, 12)], dtype=pl.Datetime(unit))["instant"].dtype == pl.Datetime("us", "UTC")


@pytest.mark.parametrize("text", ["", "yesterday", "2024-02-30", "2024-03-01 25:00", "1709280000", None])
def test_what_is_no_time_is_said_to_be_unparsable(text):
    row = read(["2024-03-01", text], dtype=pl.String).row(1, named=True)
    assert (row["instant"], row["reason"], row["repeated"]) == (None, "unparsable time", False)


def test_a_column_of_nulls_is_unparsable_throughout():
    assert read([None, None])["reason"].to_list() == ["unparsable time"] * 2


@pytest.mark.parametrize("values", [[1709280000], [1709280000.5], [True], [timedelta(hours=1)]])
def test_numbers_are_no_times(values):
    with pytest.raises(DataError, match=r"column 't' holds .* no times.*epoch"):
        read(values)


@pytest.mark.parametrize("timezone", [PARIS, NEW_YORK])
def test_the_hour_that_spring_skips_has_no_instant(timezone):
    naive = SPRING[timezone]
    around = read([naive - timedelta(hours=1), naive, naive + timedelta(hours=1)], timezone)
    assert around["reason"].to_list() == [None, "nonexistent local time", None]
    assert around["instant"].gather([0, 2]).diff().to_list() == [None, timedelta(hours=1)]


@pytest.mark.parametrize("timezone", [PARIS, NEW_YORK])
@pytest.mark.parametrize(("choice", "fold"), [("first", 0), ("second", 1)])
def test_the_hour_that_autumn_repeats_is_resolved_as_asked(timezone, choice, fold):
    row = read([AUTUMN[timezone]], timezone, choice).row(0, named=True)
    local = AUTUMN[timezone].replace(tzinfo=ZoneInfo(timezone))
    assert row["instant"].astimezone(UTC) == local.replace(fold=fold).astimezone(UTC)
    assert row["latest"].astimezone(UTC) == local.replace(fold=1).astimezone(UTC)
    assert (row["reason"], row["repeated"]) == (None, True)


def test_the_repeated_hour_can_be_refused():
    naive = AUTUMN[PARIS]
    rows = read([naive, naive + timedelta(hours=1)], PARIS, "reject")
    assert rows["reason"].to_list() == ["ambiguous local time", None]
    assert rows["instant"].is_null().to_list() == [True, False]
    assert not rows["repeated"].any()


def test_an_offset_makes_the_repeated_hour_plain():
    rows = read(["2020-10-25T02:30:00+02:00", "2020-10-25T02:30:00+01:00"], PARIS, "reject")
    assert rows["reason"].to_list() == [None, None]
    assert rows["instant"].diff().to_list() == [None, timedelta(hours=1)]


@given(st.datetimes(datetime(1990, 1, 1), datetime(2037, 1, 1)), st.sampled_from([PARIS, NEW_YORK, "Asia/Kolkata"]))
def test_an_instant_written_in_local_time_is_read_back(moment, timezone):
    """The second way is Python's own zoneinfo."""
    instant = moment.replace(tzinfo=UTC)
    local = instant.astimezone(ZoneInfo(timezone))
    row = read([local.replace(tzinfo=None, fold=0)], timezone, "second" if local.fold else "first").row(0, named=True)
    assert row["instant"].astimezone(UTC) == instant


@pytest.mark.parametrize(
    ("texts", "day"),
    [
        (["01/02/2020", "13/02/2020"], 1),
        (["01/02/2020 08:00", "02/13/2020 08:00"], 2),
        (["01.02.2020 08:00:00", "13.02.2020 08:00:00"], 1),
        (["1/2/2020 08:00:00 AM", "2/13/2020 08:00:00 PM"], 2),
    ],
)
def test_the_whole_column_decides_whether_the_day_comes_first(texts, day):
    read_all = read(texts)
    assert read_all["reason"].null_count() == 2
    assert read_all["instant"].dt.day().to_list()[0] == day


def test_dates_that_can_be_read_both_ways_are_not_guessed():
    with pytest.raises(DataError, match="day first and month first"):
        read(["01/02/2020", "03/04/2020"])


def test_a_moment_of_the_spec_is_local_unless_it_has_an_offset():
    assert in_zone(datetime(2023, 1, 1), NEW_YORK).astimezone(UTC) == datetime(2023, 1, 1, 5, tzinfo=UTC)
    assert in_zone(datetime(2023, 1, 1, tzinfo=UTC), NEW_YORK).hour == 19
