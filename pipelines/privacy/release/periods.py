"""The periods that a privacy unit is about: local days, ISO weeks, or one named span. The ledger calls them blocks.

Every step lies in one period, and the span is made of whole ones. So what a unit adds lies in the steps of its own
period, and periods can be drawn and charged one by one.
"""

from itertools import pairwise

import numpy as np
import pandas as pd

from data.regular import MICROSECOND, steps_after
from pipelines.errors import SpecError
from pipelines.privacy.mechanisms import Unit

INSTANT = pd.Timedelta(MICROSECOND)


def periods_of(index: pd.DatetimeIndex, *, unit: Unit, span: str | None) -> np.ndarray:
    """The period of each step, [T] text: "2023-01-05", "2023-W01" or the name of the span."""
    if unit == "user":
        return np.full(len(index), span, dtype=object)
    return np.array(index.strftime("%G-W%V" if unit == "user_week" else "%Y-%m-%d"), dtype=object)


def require_whole_periods(
    index: pd.DatetimeIndex, interval: str, *, start: pd.Timestamp, end: pd.Timestamp, unit: Unit
) -> None:
    """Raises SpecError where a step lies in two periods, or where the span begins or ends within one."""
    if unit == "user":
        return
    what = "week, from Monday" if unit == "user_week" else "local day"
    ends = pd.DatetimeIndex(index[1:].append(steps_after(index[-1], interval, 1))) - INSTANT
    straddling = periods_of(index, unit=unit, span=None) != periods_of(ends, unit=unit, span=None)
    if straddling.any():
        raise SpecError(
            f"data.interval: the step of {interval} at {index[int(straddling.argmax())]} lies in more than one {what}, "
            f"which unit {unit!r} protects; take steps that divide it"
        )
    for name, edge in (("start", start), ("end", end)):
        before, after = periods_of(pd.DatetimeIndex([edge - INSTANT, edge]), unit=unit, span=None)
        if before == after:
            raise SpecError(
                f"data.{name}: {edge} lies within a {what}; unit {unit!r} is released and charged in whole ones, so "
                "begin and end at midnight" + (" of a Monday" if unit == "user_week" else "")
            )


def most_steps(periods: np.ndarray, counted: np.ndarray) -> int:
    """In how many of the steps that count a unit can be at most; `counted` [T]."""
    return int(pd.Series(counted).groupby(periods).sum().max())


def changes(revisions: dict[str, int], stored: dict[str, int]) -> list[str]:
    """The periods of `revisions` that `stored` does not hold in this revision."""
    return [period for period, revision in revisions.items() if stored.get(period) != revision]


def told(periods: list[str]) -> str:
    """A few words: first to last where they follow each other by name."""
    ordered = sorted(periods)
    if len(ordered) > 2 and all(a < b for a, b in pairwise(ordered)):
        return f"{len(ordered):,} periods from {ordered[0]} to {ordered[-1]}"
    return ", ".join(ordered)
