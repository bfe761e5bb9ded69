"""The regular clock of a panel.

Steps of minutes and hours (`15m`, `1h`) are equal in absolute time: a day of 23 or 25 hours has 23 or 25 hourly
steps. They are in phase with local midnight of 1 January 2024, so steps longer than an hour begin an hour later or
earlier by the wall after a clock change. Steps of days and more (`1d`, `1w`, `1mo`, `1q`, `1y`) follow the local
calendar: a day begins at local midnight, a week on Monday, a month on its first day.
"""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import polars as pl

MICROSECOND = timedelta(microseconds=1)
UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1)}


def floor_to(instant: pl.Expr, interval: str, timezone: str) -> pl.Expr:
    """The start of the step that holds each instant; `instant` is a Datetime("us", timezone)."""
    step = absolute_step(interval)
    if step is None:
        return localise(instant.dt.replace_time_zone(None).dt.truncate(interval), timezone)
    since = instant.dt.epoch("us") - _phase(timezone)
    return (
        (since - since % (step // MICROSECOND) + _phase(timezone))
        .cast(pl.Datetime("us", "UTC"))
        .dt.convert_time_zone(timezone)
    )


def regular_index(first: datetime, last: datetime, interval: str, timezone: str) -> pd.DatetimeIndex:
    """Every step from the one that holds `first` to the one that holds `last`, both time-zone aware."""
    ends = pl.Series([first, last], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone).to_frame("time")
    start, stop = ends.select(floor_to(pl.col("time"), interval, timezone)).to_series()
    if absolute_step(interval) is None:
        start, stop, zone = start.replace(tzinfo=None), stop.replace(tzinfo=None), None
    else:
        zone = "UTC"
    steps = pl.datetime_range(start, stop, interval, time_unit="us", time_zone=zone, eager=True).to_frame("time")
    aware = pl.col("time").dt.convert_time_zone(timezone) if zone else localise(pl.col("time"), timezone)
    return pd.DatetimeIndex(steps.select(aware).to_series().to_pandas()).rename(None)


def as_index(instants: pl.Series, timezone: str) -> pd.DatetimeIndex:
    """Instants of a polars column, in any zone, as an index in `timezone`."""
    microseconds = instants.dt.epoch("us").to_numpy().astype("datetime64[us]")
    return pd.DatetimeIndex(microseconds).tz_localize("UTC").tz_convert(timezone)


def absolute_step(interval: str) -> timedelta | None:
    """The length of a step of minutes or hours; None for the calendar's steps, which have no fixed length."""
    match = re.fullmatch(r"(\d+)([a-z]+)", interval)
    if match is None:
        raise ValueError(f"{interval!r} is no interval; write a number and a unit, such as '30m', '1h', '1d'")
    unit = UNITS.get(match[2])
    return None if unit is None else int(match[1]) * unit


def localise(naive: pl.Expr, timezone: str) -> pl.Expr:
    """The first instant of local time at or after each wall time (some zones skip midnight when clocks go forward)."""
    there, hour_later = (
        time.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        for time in (naive, naive.dt.offset_by("1h"))
    )
    return there.fill_null(hour_later)


def _phase(timezone: str) -> int:
    """Local midnight of 1 January 2024 in microseconds since the epoch."""
    midnight = datetime(2024, 1, 1, tzinfo=ZoneInfo(timezone))
    return int(midnight.timestamp()) * 1_000_000


def steps_after(cutoff: pd.Timestamp, interval: str, count: int) -> pd.DatetimeIndex:
    """The `count` steps that follow the step `cutoff`."""
    return _shifted(cutoff, interval, range(1, count + 1))


def steps_until(cutoff: pd.Timestamp, interval: str, count: int) -> pd.DatetimeIndex:
    """The `count` steps that end with the step `cutoff`."""
    return _shifted(cutoff, interval, range(1 - count, 1))


def _shifted(origin: pd.Timestamp, interval: str, shifts: range) -> pd.DatetimeIndex:
    step, timezone = absolute_step(interval), str(origin.tz)
    if step is not None:
        return pd.DatetimeIndex([origin + shift * step for shift in shifts]).as_unit("us")
    number, unit = re.fullmatch(r"(\d+)([a-z]+)", interval).groups()  # type: ignore[union-attr]
    wall = pl.DataFrame(
        {
            "time": [origin.tz_localize(None).normalize().to_pydatetime()],  # midnight, even where the clock skipped it
            "by": [[f"{shift * int(number)}{unit}" for shift in shifts]],
        }
    )
    times = wall.explode("by").select(
        localise(pl.col("time").cast(pl.Datetime("us")).dt.offset_by(pl.col("by")), timezone)
    )
    return pd.DatetimeIndex(times.to_series().to_pandas(), name=None)
