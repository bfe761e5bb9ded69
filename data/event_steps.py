"""The steps of timestamped events, of one of three kinds that are told apart by `interval`:

"1200000s"            seconds from the first event that counts; times are cut to whole seconds, as in the code
                      released with Pareja et al., EvolveGCN, arXiv:1902.10191
"1h", "1d", "1mo"     the clock and calendar of `data.regular`
"rank"                one step for each distinct time that occurs, in their order
"""

import re
from datetime import datetime, timedelta
from typing import cast

import numpy as np
import pandas as pd
import polars as pl

from data.errors import DataError
from data.flows import step_of
from data.regular import absolute_step, as_index, floor_to, regular_index

RANK = "rank"
CALENDAR = r"[1-9]\d*(m|h|d|w|mo|q|y)"
MOST_STEPS = 1_000_000  # more is a stray time in a file more often than a long history
TOO_LONG = "if one of these times is a mistake take its row out, otherwise take a longer interval"
TOO_FINE = (
    "take an interval that puts the events of a while into one step, such as '1h' or '1d'; where times are numbers say "
    "what they count since 1970 with epoch = 's', 'ms' or 'us'"
)
SECOND = 1_000_000  # microseconds


def require_kind(interval: str) -> None:
    if interval != RANK and _seconds(interval) is None and not re.fullmatch(CALENDAR, interval):
        raise DataError(
            f"interval = {interval!r} is none for edge events; write seconds from the first event ('1200000s'), a step "
            "of the clock or calendar ('1h', '1d', '1mo'), or 'rank' for one step a distinct time"
        )


def moment(time: pl.Expr, interval: str, timezone: str, first: datetime | float) -> pl.Expr:
    """What the events of a step have in common: its start, or with "rank" the very time.

    `first` is the first time that counts.
    """
    seconds = _seconds(interval)
    if interval == RANK:
        return time
    if seconds is None:
        return floor_to(time, interval, timezone)
    since, origin = time.dt.epoch("us") // SECOND, pl.lit(first).dt.epoch("us") // SECOND
    start = origin + (since - origin) // seconds * seconds
    return (start * SECOND).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(timezone)


def number_steps(moments: pl.Series, interval: str, timezone: str) -> tuple[np.ndarray, pd.Index]:
    """The step of each moment, and the clock: of step starts, or of plain ranks where the times are numbers.

    Raises DataError where there would be absurdly many steps.
    """
    if interval == RANK:
        distinct = moments.unique().sort()
        _require_few(len(distinct), "steps, one for each distinct time,", distinct[0], distinct[-1], TOO_FINE)
        clock = pd.RangeIndex(len(distinct)) if distinct.dtype.is_float() else as_index(distinct, timezone)
        return distinct.search_sorted(moments).to_numpy(), clock
    first, last = cast(datetime, moments.min()), cast(datetime, moments.max())
    seconds = _seconds(interval)
    length = timedelta(seconds=seconds) if seconds else absolute_step(interval) or timedelta(days=1)
    count = (last - first) // length + 1
    _require_few(count, f"steps of {interval}", first, last, TOO_LONG)
    if seconds is None:
        index = regular_index(first, last, interval, timezone)
        return step_of(moments, index), index
    start, length_us = moments.dt.epoch("us").to_numpy(), seconds * SECOND
    whole = pl.Series(start.min() + np.arange(count) * length_us).cast(pl.Datetime("us", "UTC"))
    return (start - start.min()) // length_us, as_index(whole, timezone)


def _require_few(count: int, steps: str, first: datetime | float, last: datetime | float, remedy: str) -> None:
    if count > MOST_STEPS:
        raise DataError(f"there would be {count:,} {steps} from {first} to {last}, more than {MOST_STEPS:,}; {remedy}")


def step_moments(clock: pd.Index, moments: pl.Series) -> pl.Series:
    """[T], the `moment` that the events of each step have in common, of a clock and the moments that it was made of."""
    if not isinstance(clock, pd.DatetimeIndex):
        return moments.unique().sort()
    return (
        pl.Series(clock.tz_convert("UTC").tz_localize(None).astype("datetime64[us]").to_numpy())
        .cast(pl.Datetime("us", "UTC"))
        .dt.convert_time_zone(str(clock.tz))
    )


def _seconds(interval: str) -> int | None:
    match = re.fullmatch(r"([1-9]\d*)s", interval)
    return int(match[1]) if match else None
