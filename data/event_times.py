"""Read the time column of events, or of what is known of nodes: dates, or numbers that count since 1970."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from data.clock import UNPARSABLE, read_instants
from data.errors import DataError
from data.event_steps import RANK
from data.rejections import first_reason, time_checks
from data.tally import OUR, REASON

TIME, RESOLVED = OUR + "time", OUR + "resolved"
MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0}
LAST_MICROSECOND = 250_000_000_000 * 1e6  # in the year 9892; calendars end with 9999
SAMPLE = 1000

Epoch = Literal["s", "ms", "us"]


@dataclass(frozen=True)
class EventTimes:
    """What times mean: `epoch` says what numbers count since 1970; with interval "rank" they may be any numbers."""

    interval: str
    epoch: Epoch | None
    timezone: str


def with_time(rows: pl.LazyFrame, column: str, times: EventTimes) -> pl.LazyFrame:
    """Adds TIME (an instant, or the number itself where only its rank counts), RESOLVED and REASON."""
    numbers = times.interval == RANK and times.epoch is None and _holds_numbers(rows, column)
    if times.epoch is None and not numbers:
        _require_dates(rows, column, times.timezone)
        time = read_instants(rows, column, timezone=times.timezone)
        read, time = rows.with_columns(time.read.alias(TIME)), time.held_in(TIME)
        return read.with_columns(
            time.instant.alias(TIME),
            time.repeated.fill_null(False).alias(RESOLVED),
            first_reason(time_checks(time)).alias(REASON),
        )
    value = as_number(pl.col(column))
    if times.epoch is not None:
        _require_near(rows, column, times.epoch)
    limit = LAST_MICROSECOND / MICROSECONDS[times.epoch] if times.epoch else float("inf")
    value = pl.when(value.is_finite() & (value.abs() < limit)).then(value)
    return rows.with_columns(
        (_instant(value, times.epoch, times.timezone) if times.epoch else value).alias(TIME),
        pl.lit(False).alias(RESOLVED),
        pl.when(value.is_null()).then(pl.lit(UNPARSABLE)).alias(REASON),
    )


def as_number(values: pl.Expr) -> pl.Expr:
    return values.cast(pl.Float64, strict=False)


def _instant(value: pl.Expr, epoch: Epoch, timezone: str) -> pl.Expr:
    since = (value * MICROSECONDS[epoch]).floor().cast(pl.Int64, strict=False)
    return since.cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone)


def _require_near(rows: pl.LazyFrame, column: str, epoch: Epoch) -> None:
    numbers = _sample(rows, column).cast(pl.Float64, strict=False).drop_nulls()
    if len(numbers) and (numbers.abs() >= LAST_MICROSECOND / MICROSECONDS[epoch]).all():
        raise DataError(
            f"column {column!r} holds numbers such as {numbers[0]:.0f}, which lie beyond the year 9999 with "
            f"epoch = {epoch!r}; 's', 'ms' and 'us' are known, the shorter the unit the larger the numbers"
        )


def _sample(rows: pl.LazyFrame, column: str) -> pl.Series:
    return rows.select(pl.col(column)).drop_nulls().head(SAMPLE).collect().to_series()


def _holds_numbers(rows: pl.LazyFrame, column: str) -> bool:
    """Whether most times are numbers; the rest are mistakes."""
    sample = _sample(rows, column)
    return sample.dtype.is_numeric() or (
        sample.dtype == pl.String and sample.cast(pl.Float64, strict=False).null_count() <= len(sample) / 2
    )


def _require_dates(rows: pl.LazyFrame, column: str, timezone: str) -> None:
    """Raises DataError where most times are numbers that are no dates, as the years 2019 and 20190301 are."""
    sample = _sample(rows, column).alias(column)
    numbers = sample.to_frame().filter(as_number(pl.col(column)).is_not_null())
    if not sample.dtype.is_numeric() and len(numbers):
        time = read_instants(numbers.lazy(), column, timezone=timezone)
        numbers = numbers.filter(time.reason == UNPARSABLE)
    if len(numbers) > len(sample) / 2:
        raise DataError(
            f"column {column!r} holds numbers such as {numbers[column][0]}, not dates; say what they count since 1970 "
            "with epoch = 's', 'ms' or 'us', or take interval = 'rank', one step a distinct number, where only their "
            "order counts (ranks, epochs, steps)"
        )
