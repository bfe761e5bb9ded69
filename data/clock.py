"""Turn a column of times, as a file has it, into instants in one time zone.

A time with an offset is converted. A time without one is read on the wall clock of the zone, which twice a year
isn't a clock: in spring an hour does not exist (such a time has no instant), in autumn an hour is repeated (such a
time has two, and `repeated_hour` says which is meant).
"""

from collections.abc import Callable, Sequence
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

WALL = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d", "%Y-%m-%d %H:%M")
NAMED = tuple(f"%d %B %Y{clock}" for clock in ("", " %H:%M", " %H:%M:%S%.f"))  # %B also reads Jan
WITH_OFFSET = ("%+", "%Y-%m-%d %H:%M%z")
SPELLINGS = (
    (r"^(\d{4})[-/](\d{1,2})[-/](\d{1,2})[T ]", "$1-$2-$3 "),
    (r"^(\d{4})/(\d{1,2})/(\d{1,2})$", "$1-$2-$3"),
    (r"^(\d{4})[-/](\d{2})$", "$1-$2-01"),
    (r"^(\d{4})(\d{2})(\d{2})$", "$1-$2-$3"),
    (r"^([12]\d{3})$", "$1-01-01"),
    *((rf"^(\d{{4}})[- ]?[qQ]{quarter}$", f"$1-{3 * quarter - 2:02d}-01") for quarter in (1, 2, 3, 4)),
    (r"^(\d{1,2})[- ]([A-Za-z]+)\.?[- ,]+(\d{4})", "$1 $2 $3"),
    (r"^([A-Za-z]+)\.?[- ](\d{1,2}),?[- ]+(\d{4})", "$2 $1 $3"),
    (r"^([A-Za-z]+)\.?[- ,]+(\d{4})$", "1 $1 $2"),
    (r"[zZ]$", "+00:00"),
    (r"(:\d{2}(?:\.\d+)?[+-]\d{2})$", "$1:00"),  # PostgreSQL writes +01 for +01:00
)
DAY_OR_MONTH = r"^(\d{1,2})[/.-](\d{1,2})(?:[/.-](\d{4})|[/.](\d{2})\b)"
CENTURIES = ((r"^(\d+/\d+)/([0-6]\d)\b", "$1/20$2"), (r"^(\d+/\d+)/([7-9]\d)\b", "$1/19$2"))  # as POSIX has it
CLOCKS = ("", " %H:%M", " %H:%M:%S%.f", " %I:%M %p", " %I:%M:%S %p")
DAY_FIRST = tuple(f"%d/%m/%Y{clock}" for clock in CLOCKS)
MONTH_FIRST = tuple(f"%m/%d/%Y{clock}" for clock in CLOCKS)
SAMPLE = 1000

Parse = Callable[[pl.Series], tuple[pl.Series, pl.Series]]  # wall times and instants: one of the two is null


@dataclass(frozen=True)
class Instants:
    """The times of one column, as expressions over the rows of its frame.

    `read` is a struct of the other four. polars evaluates it anew for each expression that uses it, so a frame that
    needs several adds it as a column first and goes on with `held_in` that column.
    """

    read: pl.Expr

    def held_in(self, column: str) -> "Instants":
        return Instants(pl.col(column))

    @property
    def instant(self) -> pl.Expr:
        """Datetime("us", timezone), null where `reason` says why."""
        return self.read.struct.field("instant")

    @property
    def latest(self) -> pl.Expr:
        """The second reading where the hour is repeated; equal to `instant` elsewhere."""
        return self.read.struct.field("latest")

    @property
    def reason(self) -> pl.Expr:
        """Why there is no instant, null where there is one."""
        return self.read.struct.field("reason")

    @property
    def repeated(self) -> pl.Expr:
        """True where two readings exist and one was chosen."""
        return self.read.struct.field("repeated")


def read_instants(
    frame: pl.LazyFrame, column: str, *, timezone: str, repeated_hour: RepeatedHour = "first"
) -> Instants:
    """The instants of `column`; a few rows of the frame are looked at to see how its times are written.

    Raises DataError for numbers and other types that are no times, and for dates such as 01/02/2020 throughout.
    """
    parse = _parser(frame, column)
    fields = {"instant": pl.Datetime("us", timezone), "latest": pl.Datetime("us", timezone)}
    # One Python call a batch instead of one tree of expressions: a format is tried only on what the others left.
    read = pl.col(column).map_batches(
        lambda times: _localised(*parse(times), timezone, repeated_hour),
        return_dtype=pl.Struct({**fields, "reason": pl.String, "repeated": pl.Boolean}),
        is_elementwise=True,
    )
    return Instants(read)


def rows_decide(frame: pl.LazyFrame, column: str) -> bool:
    """Whether times are written such as 01/02/2020, of which all rows together say what is the day and what the month.

    So that one row more can change how every other one is read.
    """
    if frame.collect_schema()[column] != pl.String:
        return False
    text = pl.col(column).str.strip_chars()
    sample = frame.select(text).drop_nulls().head(SAMPLE).collect().to_series()
    return len(sample) > 0 and bool(sample.str.contains(DAY_OR_MONTH).sum() > len(sample) / 2)


def in_zone(moment: datetime, timezone: str) -> datetime:
    """A moment from the spec: local in `timezone` unless it has an offset."""
    zone = ZoneInfo(timezone)
    return moment.replace(tzinfo=zone) if moment.tzinfo is None else moment.astimezone(zone)


def _localised(wall: pl.Series, absolute: pl.Series, timezone: str, repeated_hour: RepeatedHour) -> pl.Series:
    earliest, latest = (
        pl.coalesce(
            absolute.dt.convert_time_zone(timezone),
            wall.dt.replace_time_zone(timezone, ambiguous=which, non_existent="null"),
        )
        for which in ("earliest", "latest")
    )
    both = pl.select(earliest=earliest, latest=latest, unparsable=wall.is_null() & absolute.is_null())
    twice = (pl.col("earliest") != pl.col("latest")).fill_null(False)
    refused = twice if repeated_hour == "reject" else pl.lit(False)
    why = pl.when("unparsable").then(pl.lit(UNPARSABLE)).when(pl.col("earliest").is_null()).then(pl.lit(NONEXISTENT))
    return both.select(
        instant=pl.when(~refused).then("latest" if repeated_hour == "second" else "earliest"),
        latest=pl.when(~refused).then("latest"),
        reason=why.when(refused).then(pl.lit(AMBIGUOUS)),
        repeated=twice & ~refused,
    ).to_struct()


def _parser(frame: pl.LazyFrame, column: str) -> Parse:
    dtype = frame.collect_schema()[column]
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        aware = pl.Datetime("us", dtype.time_zone)
        return lambda times: (_nulls(times), times.cast(aware).dt.convert_time_zone("UTC"))
    if isinstance(dtype, (pl.Datetime, pl.Date, pl.Null)):
        return lambda times: (times.cast(pl.Datetime("us")), _nulls(times, "UTC"))
    if isinstance(dtype, pl.String):
        return _text_parser(frame, column)
    raise DataError(
        f"column {column!r} holds {dtype} values, which are no times; "
        "give dates or date-times, or text such as 2024-03-01 08:00 (epoch numbers are not read)"
    )


def _text_parser(frame: pl.LazyFrame, column: str) -> Parse:
    if rows_decide(frame, column):
        formats = _day_or_month_first(frame, column)
        return lambda times: (_slashed(times, formats), _nulls(times, "UTC"))
    return _year_first


def _year_first(times: pl.Series) -> tuple[pl.Series, pl.Series]:
    text = times.str.strip_chars()
    wall = _first_that_fits(text, WALL)
    left = pl.select(pl.when(wall.is_null()).then(text)).to_series()
    if left.null_count() == len(left):
        return wall, _nulls(times, "UTC")
    for pattern, spelling in SPELLINGS:  # so that few formats have to be tried
        left = left.str.replace(pattern, spelling)
    return pl.select(pl.coalesce(wall, _first_that_fits(left, WALL + NAMED))).to_series(), _first_that_fits(
        left, WITH_OFFSET, "UTC"
    )


def _day_or_month_first(frame: pl.LazyFrame, column: str) -> tuple[str, ...]:
    """01/02/2020 can be read two ways; the whole column decides, by the way that reads more of its rows."""

    def count(formats: tuple[str, ...]) -> int:
        read = pl.col(column).map_batches(
            lambda times: _slashed(times, formats), return_dtype=pl.Datetime("us"), is_elementwise=True
        )
        return int(frame.select(read.count()).collect(engine="streaming").item())

    day, month = count(DAY_FIRST), count(MONTH_FIRST)
    if day == month:
        raise DataError(
            f"column {column!r} has dates that can be read day first and month first throughout; "
            "write them year first, as in 2020-02-01"
        )
    return DAY_FIRST if day > month else MONTH_FIRST


def _slashed(times: pl.Series, formats: Sequence[str]) -> pl.Series:
    text = times.str.strip_chars().str.replace(DAY_OR_MONTH, "$1/$2/$3$4")
    for short, full in CENTURIES:
        text = text.str.replace(short, full)
    return _first_that_fits(text, formats)


def _first_that_fits(text: pl.Series, formats: Sequence[str], zone: str | None = None) -> pl.Series:
    found = _nulls(text, zone)
    for form in formats:
        left = (found.is_null() & text.is_not_null()).arg_true()
        if len(left):
            read = text.gather(left).str.to_datetime(form, time_unit="us", time_zone=zone, strict=False)
            found = found.scatter(left, read)
    return found


def _nulls(like: pl.Series, zone: str | None = None) -> pl.Series:
    return pl.repeat(None, len(like), dtype=pl.Datetime("us", zone), eager=True)
