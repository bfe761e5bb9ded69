"""Turn a column of times, as a file has it, into instants in one time zone.

A time with an offset is converted. A time without one is read on the wall clock of the zone, which twice a year
isn't a clock: in spring an hour does not exist (such a time has no instant), in autumn an hour is repeated (such a
time has two, and `repeated_hour` says which is meant).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import polars as pl

from data.errors import DataError

RepeatedHour = Literal["first", "second", "reject"]

UNPARSABLE = "unparsable time"
NONEXISTENT = "nonexistent local time"
AMBIGUOUS = "ambiguous local time"
REPEATED = "repeated local hour"

# Text is brought to one spelling first, so that few formats have to be tried on every row.
SPELLINGS = (
    (r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})[T ]", "$1-$2-$3 "),
    (r"[zZ]$", "+00:00"),
    (r"(:\d{2}(?:\.\d+)?[+-]\d{2})$", "$1:00"),  # PostgreSQL writes +01 for +01:00
    (r"^(\d{4})[-/](\d{2})$", "$1-$2-01"),
    (r"^(\d{4})/(\d{1,2})/(\d{1,2})$", "$1-$2-$3"),
)
WALL = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
WITH_OFFSET = ("%+", "%Y-%m-%d %H:%M%z")
DAY_OR_MONTH = r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})"
CLOCKS = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
SAMPLE = 1000


@dataclass(frozen=True)
class Instants:
    """Four expressions over the rows of one file.

    `instant` is Datetime("us", timezone), null where `reason` says why; `latest` is its second reading where the hour
    is repeated (equal to `instant` elsewhere); `repeated` is True where two readings exist and one was chosen.
    """

    instant: pl.Expr
    latest: pl.Expr
    reason: pl.Expr
    repeated: pl.Expr


def read_instants(
    frame: pl.LazyFrame, column: str, *, timezone: str, repeated_hour: RepeatedHour = "first"
) -> Instants:
    """The instants of `column`; a few rows of the frame are looked at to see how its times are written.

    Raises DataError for numbers and other types that are no times, and for dates such as 01/02/2020 throughout.
    """
    naive, aware = _wall_and_absolute(frame, column)
    earliest, latest = (
        pl.coalesce(
            aware.dt.convert_time_zone(timezone),
            naive.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null"),
        )
        for which in ("earliest", "latest")
    )
    repeated = (earliest != latest).fill_null(False)
    unparsable = naive.is_null() & aware.is_null()
    refused = repeated if repeated_hour == "reject" else pl.lit(False)
    reason = pl.when(unparsable).then(pl.lit(UNPARSABLE)).when(earliest.is_null()).then(pl.lit(NONEXISTENT))
    return Instants(
        instant=pl.when(~refused).then(latest if repeated_hour == "second" else earliest),
        latest=pl.when(~refused).then(latest),
        reason=reason.when(refused).then(pl.lit(AMBIGUOUS)),
        repeated=repeated & ~refused,
    )


def in_zone(moment: datetime, timezone: str) -> datetime:
    """A moment from the spec: local in `timezone` unless it has an offset."""
    zone = ZoneInfo(timezone)
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)


def _wall_and_absolute(frame: pl.LazyFrame, column: str) -> tuple[pl.Expr, pl.Expr]:
    """Every time is one of the two, the other is null: a wall time, or an instant in UTC."""
    dtype = frame.collect_schema()[column]
    time = pl.col(column)
    no_wall, no_instant = pl.lit(None, pl.Datetime("us")), pl.lit(None, pl.Datetime("us", "UTC"))
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        return no_wall, time.cast(pl.Datetime("us", dtype.time_zone)).dt.convert_time_zone("UTC")
    if isinstance(dtype, (pl.Datetime, pl.Date, pl.Null)):
        return time.cast(pl.Datetime("us")), no_instant
    if isinstance(dtype, pl.String):
        return _parsed(frame, column)
    raise DataError(
        f"column {column!r} holds {dtype} values, which are no times; "
        "give dates or date-times, or text such as 2024-03-01 08:00 (epoch numbers are not read)"
    )


def _parsed(frame: pl.LazyFrame, column: str) -> tuple[pl.Expr, pl.Expr]:
    text = pl.col(column).str.strip_chars()
    sample = frame.select(text).drop_nulls().head(SAMPLE).collect().to_series()
    if len(sample) and sample.str.contains(DAY_OR_MONTH).sum() > len(sample) / 2:
        return _day_or_month_first(frame, text, column), pl.lit(None, pl.Datetime("us", "UTC"))
    for pattern, spelling in SPELLINGS:
        text = text.str.replace(pattern, spelling)
    aware = [text.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False) for form in WITH_OFFSET]
    return _first_that_fits(text, WALL), pl.coalesce(aware)


def _day_or_month_first(frame: pl.LazyFrame, text: pl.Expr, column: str) -> pl.Expr:
    """01/02/2020 can be read two ways; the whole column decides, by the way that reads more of its rows."""
    text = text.str.replace(DAY_OR_MONTH, "$1/$2/$3")
    day, month = (_first_that_fits(text, [f"{date}{clock}" for clock in CLOCKS]) for date in ("%d/%m/%Y", "%m/%d/%Y"))
    counts = frame.select(day=day.count(), month=month.count()).collect(engine="streaming").row(0, named=True)
    if counts["day"] == counts["month"]:
        raise DataError(
            f"column {column!r} has dates that can be read day first and month first throughout; "
            "write them year first, as in 2020-02-01"
        )
    return day if counts["day"] > counts["month"] else month


def _first_that_fits(text: pl.Expr, formats: Sequence[str]) -> pl.Expr:
    return pl.coalesce(text.str.to_datetime(form, time_unit="us", strict=False) for form in formats)
