"""Infer the interval of a file from the gaps between successive times of its series.

Months have unequal days and days unequal hours, so whole days and more are measured on the wall and anything shorter
in absolute time.
"""

from datetime import timedelta

import polars as pl

from data.errors import DataError

ENOUGH = 0.9  # share of the gaps that must be whole multiples of the interval; the others are rows off the clock
SPANS = [(1, 28, 31), (2, 59, 62), (3, 89, 92), (4, 120, 123), (6, 181, 184)]  # months, days from, days to
SPANS += [(12 * years, 365 * years, 366 * years) for years in range(1, 11)]
MONTHS = {days: months for months, shortest, longest in SPANS for days in range(shortest, longest + 1)}
MINUTE = 60_000_000  # microseconds


def infer_interval(times: pl.DataFrame) -> str:
    """The interval, such as "30m", "1d" or "1mo", of the columns `series` and `time` (with a time zone).

    Raises DataError where no single one fits, naming the first two gaps that disagree.
    """
    gaps = _gaps(times)
    if gaps.is_empty():
        raise DataError("no series has two different times, so the interval can't be told; set data.interval")
    unit, length = _most_common(gaps)
    fits = (gaps[unit] % length == 0).fill_null(False)
    if fits.mean() < ENOUGH:  # type: ignore[operator]
        raise DataError(_disagreement(gaps, fits))
    if unit == "microseconds" and length % MINUTE:
        raise DataError(
            f"times are {length / 1e6:g} seconds apart; an interval is a whole number of minutes or more: "
            "bring each series to one row a minute or more first"
        )
    return _in_words(unit, length)


def _gaps(times: pl.DataFrame) -> pl.DataFrame:
    """One row per gap: series, time (its end), and its length in `microseconds`, `days` and `months`.

    The last two are null where the gap is no whole number of days on the wall.
    """
    wall = pl.col("time").dt.replace_time_zone(None)
    month = (wall.dt.year() * 12 + wall.dt.month()).cast(pl.Int64)
    whole_days = (wall.diff().dt.total_microseconds() % (1440 * MINUTE) == 0) & (wall.diff() > timedelta(0))
    ordered = times.select("series", "time").sort("series", "time")
    gaps = ordered.with_columns(
        microseconds=pl.col("time").diff().dt.total_microseconds(),
        days=pl.when(whole_days).then(wall.diff().dt.total_days()),
        months=pl.when(whole_days).then(month.diff()),
    )
    return gaps.filter(pl.col("series") == pl.col("series").shift(), pl.col("microseconds") > 0)


def _most_common(gaps: pl.DataFrame) -> tuple[str, int]:
    """Its unit (a column of `gaps`) and its length; the shorter of two equally common ones."""
    labelled = gaps.with_columns(like_months=pl.col("days").replace_strict(MONTHS, default=None, return_dtype=pl.Int64))
    kinds = labelled.group_by(
        "like_months",
        pl.when(pl.col("like_months").is_null()).then("days").alias("in_days"),
        pl.when(pl.col("days").is_null()).then("microseconds").alias("in_microseconds"),
    ).agg(pl.len(), pl.col("months", "days").min(), pl.col("microseconds").min())
    top = kinds.sort("len", "microseconds", descending=[True, False]).row(0, named=True)
    if top["like_months"] and top["months"] >= top["like_months"]:
        return "months", top["like_months"]
    if top["days"]:  # four weeks look like a month, until two of them begin in one
        return "days", labelled.filter(pl.col("like_months").eq_missing(top["like_months"]))["days"].mode().min()  # type: ignore[return-value]
    return "microseconds", top["microseconds"]


def _in_words(unit: str, length: int) -> str:
    match unit:
        case "months":
            return _largest(length, {"y": 12, "q": 3, "mo": 1})
        case "days":
            return _largest(length, {"w": 7, "d": 1})
        case _:
            return _largest(length, {"h": 60 * MINUTE, "m": MINUTE})


def _largest(length: int, units: dict[str, int]) -> str:
    name, size = next((name, size) for name, size in units.items() if length % size == 0)
    return f"{length // size}{name}"


def _disagreement(gaps: pl.DataFrame, fits: pl.Series) -> str:
    first, other = (gaps.filter(chosen).row(0, named=True) for chosen in (fits, ~fits))
    told = (
        f"{timedelta(microseconds=gap['microseconds'])} before {gap['time']:%Y-%m-%d %H:%M} in series {gap['series']!r}"
        for gap in sorted((first, other), key=lambda gap: gap["time"])
    )
    return (
        f"no single interval fits the times: the gap is {' but '.join(told)} "
        f"({(~fits).sum():,} of {len(fits):,} gaps disagree); "
        "bring each series to one row a step first, or set data.interval where few rows are off it"
    )
