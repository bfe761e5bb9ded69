from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.regular import floor_to, regular_index, steps_after, steps_until

PARIS, NEW_YORK = "Europe/Paris", "America/New_York"
INTERVALS = ["15m", "1h", "6h", "1d", "2d", "1w", "1mo", "1q", "1y"]


def floor(moments, interval, timezone):
    frame = pl.DataFrame({"t": pl.Series(moments, dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone)})
    return frame.select(floor_to(pl.col("t"), interval, timezone)).to_series()


def local_day(year, month, day, timezone):
    zone = ZoneInfo(timezone)
    first = datetime(year, month, day, tzinfo=zone)
    return first, first + timedelta(days=1) - timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("day", "timezone", "steps"),
    [
        ((2020, 3, 29), PARIS, 23),
        ((2020, 10, 25), PARIS, 25),
        ((2023, 3, 12), NEW_YORK, 23),
        ((2023, 11, 5), NEW_YORK, 25),
        ((2023, 11, 5), "Asia/Kolkata", 24),
    ],
)
def test_a_day_has_as_many_hourly_steps_as_hours(day, timezone, steps):
    index = regular_index(*local_day(*day, timezone), "1h", timezone)
    assert len(index) == steps
    assert (index[1:] - index[:-1] == timedelta(hours=1)).all()
    assert index[0] == pd.Timestamp(*day, tz=timezone)
    assert str(index.tz) == timezone


def test_both_passes_of_the_repeated_hour_stay_apart():
    first_pass = datetime(2020, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 summer time in Paris
    steps = floor([first_pass, first_pass + timedelta(hours=1)], "1h", PARIS)
    assert steps.dt.hour().to_list() == [2, 2]
    assert steps.diff().to_list() == [None, timedelta(hours=1)]


@pytest.mark.parametrize(("interval", "count"), [("1d", 31), ("1w", 5), ("1mo", 1), ("1q", 1), ("1y", 1)])
def test_longer_steps_follow_the_local_calendar_across_the_change(interval, count):
    zone = ZoneInfo(NEW_YORK)
    index = regular_index(datetime(2023, 3, 1, tzinfo=zone), datetime(2023, 3, 31, 23, tzinfo=zone), interval, NEW_YORK)
    assert len(index) == count
    assert {stamp.hour for stamp in index} == {0}
    assert interval != "1w" or {stamp.day_name() for stamp in index} == {"Monday"}


def test_a_day_whose_midnight_is_skipped_begins_at_the_first_moment_there_is():
    steps = floor([datetime(2018, 11, 4, 12, tzinfo=UTC)], "1d", "America/Sao_Paulo")
    assert steps[0].replace(tzinfo=None) == datetime(2018, 11, 4, 1)


@given(
    st.datetimes(datetime(2015, 1, 1), datetime(2030, 1, 1)),
    st.timedeltas(timedelta(0), timedelta(days=60)),
    st.sampled_from(INTERVALS),
    st.sampled_from([PARIS, NEW_YORK, "Asia/Kolkata", "UTC"]),
)
def test_every_instant_lies_in_the_step_it_is_floored_to(moment, later, interval, timezone):
    first, last = moment.replace(tzinfo=UTC), (moment + later).replace(tzinfo=UTC)
    index = regular_index(first, last, interval, timezone)
    starts = floor([first, last], interval, timezone)
    assert [index[0], index[-1]] == [pd.Timestamp(start) for start in starts]
    assert index[0] <= first
    assert index[-1] <= last
    assert (index[1:] > index[:-1]).all()
    middle = first + later / 2
    assert pd.Timestamp(floor([middle], interval, timezone)[0]) == index[index <= middle][-1]


def test_what_is_no_interval_is_refused():
    with pytest.raises(ValueError, match="'hourly' is no interval"):
        floor([datetime(2020, 1, 1, tzinfo=UTC)], "hourly", "UTC")


@pytest.mark.parametrize("interval", ["6h", "1d", "2d", "1w", "1mo"])
@pytest.mark.parametrize("timezone", [PARIS, "Africa/Cairo", "America/Havana", "America/Santiago"])
def test_the_steps_around_any_step_are_those_of_the_clock(interval, timezone):
    """Cairo, Havana and Santiago skip or repeat a midnight, so that a day begins at one o'clock or lasts 25 hours."""
    first = datetime(2023, 3, 1, tzinfo=ZoneInfo(timezone))
    index = regular_index(first, first + timedelta(days=260), interval, timezone)
    for place in range(2, len(index) - 2, 5 if interval == "6h" else 1):
        assert list(steps_until(index[place], interval, 3)) == list(index[place - 2 : place + 1])
        assert list(steps_after(index[place], interval, 2)) == list(index[place + 1 : place + 3])
