"""Rows that do not count: under which reason, with which examples, and when there are too many of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import polars as pl

from data.clock import AMBIGUOUS, NONEXISTENT, UNPARSABLE, Instants
from data.dataset import Rejections
from data.errors import DataError, TooManyRejected

OUTSIDE = "outside the span"
UNKNOWN_ZONE = "unknown zone"
OFF_CLOCK = "off the clock"
DUPLICATE = "duplicate"
HINTS = {
    UNPARSABLE: "times are read as 2024-03-01 08:00, 2024-03, 2024Q1, 31/12/2024 or 31 Dec 2024; "
    "numbers of steps (1, 2, 3) and of seconds are not: write dates",
    OFF_CLOCK: "rows between the steps are not averaged: bring each series to one row a step first",
}
MOST_CELLS = 8  # of a row that is shown; a wide file has hundreds
TIME_REASONS = (UNPARSABLE, NONEXISTENT, AMBIGUOUS)


def first_reason(checks: Mapping[str, pl.Expr]) -> pl.Expr:
    """The name of the first check that a row fails, null where it passes them all; a check that is null is passed."""
    return pl.coalesce(pl.when(failed).then(pl.lit(name)) for name, failed in checks.items())


def time_checks(*times: Instants) -> dict[str, pl.Expr]:
    return {name: pl.any_horizontal((time.reason == name).fill_null(False) for time in times) for name in TIME_REASONS}


def outside(time: pl.Expr, start: datetime | None, end: datetime | None) -> pl.Expr:
    """True before `start` and from `end` on; a bound that is None does not bind."""
    checks = [time < start] if start else []
    checks += [time >= end] if end else []
    return pl.any_horizontal(checks) if checks else pl.lit(False)


def unknown_zone(column: str, known: Sequence[str] | None) -> pl.Expr:
    """True where the id is missing, or not among the known ones (where these are known)."""
    missing = pl.col(column).is_null()
    return missing if known is None else missing | ~pl.col(column).is_in(known)


def gather_examples(
    judged: pl.LazyFrame, reason: str, reasons: Sequence[str], columns: Sequence[str], limit: int
) -> pl.DataFrame:
    """Up to `limit` rows of each of these reasons, in the order of the file; `reason` is the column that names it.

    One pass for each reason, which ends at the last example it needs, so that rejected rows are never held in memory.
    """
    rows = judged.select(pl.col(reason).alias("reason"), *columns)
    found = [rows.filter(pl.col("reason") == name).head(limit) for name in reasons if limit]
    return pl.concat([rows.head(0).collect(), *(some.collect(engine="streaming") for some in found)])


def require_interval(interval: str) -> None:
    if interval == "auto":
        raise DataError("interval = 'auto' is for series, which have one of their own; counting needs one such as '1h'")


def require_few(rejections: Rejections, rows_read: int, limit: float) -> None:
    """Raises TooManyRejected where the share is above `limit`, DataError where nothing is left.

    A row outside the span that was asked for is no fault of the data, so it does not count towards the limit.
    """
    rejected = sum(rejections.counts.values())
    if rows_read == 0:
        raise DataError("the files have no rows")
    if rejected == rows_read or rejected - rejections.counts.get(OUTSIDE, 0) > limit * rows_read:
        raise TooManyRejected(_verdict(rejections, rows_read, limit), rejections)


def require_few_besides(on_purpose: str, rejections: Rejections, rows_read: int, limit: float) -> None:
    """As `require_few`; rows of this reason are left out on purpose and are no dirt, unless nothing else is there."""
    count = rejections.counts[on_purpose]
    dirt = Rejections({**rejections.counts, on_purpose: 0}, rejections.examples)
    all_rejected = sum(rejections.counts.values()) == rows_read
    require_few(rejections if all_rejected else dirt, rows_read if all_rejected else rows_read - count, limit)


def _verdict(rejections: Rejections, rows_read: int, limit: float) -> str:
    rejected = sum(rejections.counts.values())
    reasons = ", ".join(f"{count:,} {name}" for name, count in rejections.counts.items() if count)
    if rejected == rows_read:
        return f"all {rows_read:,} rows were rejected: {reasons}; {_example(rejections)}check columns, span and zones"
    return (
        f"{rejected:,} of {rows_read:,} rows ({rejected / rows_read:.1%}) were rejected: {reasons}; "
        f"{_example(rejections)}at most {limit:.1%} may be: mend the data or raise `max_rejected_share` in the spec"
    )


def _example(rejections: Rejections) -> str:
    worst = max(rejections.counts, key=lambda name: rejections.counts[name])
    rows = rejections.examples.filter(pl.col("reason") == worst).drop("reason")
    if rows.is_empty():
        return ""
    row = list(rows.row(0, named=True).items())
    cells = ", ".join(f"{column}={value}" for column, value in row[:MOST_CELLS])
    cells += f" and {len(row) - MOST_CELLS} more columns" if len(row) > MOST_CELLS else ""
    hint = f"{HINTS[worst]}; " if worst in HINTS else ""
    return f"the first {worst!r} is {cells}; {hint}"
