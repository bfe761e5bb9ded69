"""Rows of series: which of them count, at which step, with which values.

Both shapes of series file are rows with a time: in long format a row is one series at one time, in wide format it is
all series of one variable at one time. What is wrong with a row doesn't depend on the shape, and is decided here.

A row that repeats another exactly is a duplicate. Two rows for the same time that disagree are an error: nobody but
the person who made the file can know which one is true.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl

from data.clock import AMBIGUOUS, NONEXISTENT, REPEATED, UNPARSABLE, RepeatedHour, read_instants
from data.dataset import Rejections
from data.errors import DataError
from data.interval import infer_interval
from data.regular import MICROSECOND, absolute_step, floor_to
from data.rejections import DUPLICATE, OFF_CLOCK, OUTSIDE, outside
from data.sources import readable
from data.zones import in_order

NO_ID = "no series id"
NOT_A_NUMBER = "not a number"
REASONS = (UNPARSABLE, NONEXISTENT, AMBIGUOUS, NO_ID, NOT_A_NUMBER, OUTSIDE, OFF_CLOCK, DUPLICATE)
MOVED = "moved to the start of its step"
MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none", "-")  # how files write that there is no value
ROW, TIME = "flockcast:row", "flockcast:time"  # columns added to those of the file


@dataclass(frozen=True)
class Source:
    """The rows of one set of files: which column (an expression of `frame`) says what."""

    files: Sequence[Path]
    frame: pl.LazyFrame
    series: pl.Expr
    time: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """What makes a row count; times are aware, `end` is the first instant that no longer counts."""

    timezone: str
    interval: str
    start: datetime | None
    end: datetime | None
    repeated_hour: RepeatedHour


@dataclass(frozen=True)
class Readings:
    """The rows that count: `series`, `step` (the start of its interval), `v0`, `v1`, ... (null: no value)."""

    rows: pl.DataFrame
    interval: str
    rows_read: int
    rejections: Rejections
    notes: dict[str, int]


@dataclass
class Tally:
    """Rejected so far: how many rows by reason, and the numbers of the first few."""

    examples: int
    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[int, str] = field(default_factory=dict)

    def reject(self, rows: pl.DataFrame, failed: pl.Expr, reason: str) -> pl.DataFrame:
        """Count the rows that `failed` is true of, and give the others."""
        verdict = rows.select(failed.fill_null(False)).to_series()
        if not verdict.any():
            return rows
        out = rows.filter(verdict)["row"].sort()
        self.counts[reason] = self.counts.get(reason, 0) + len(out)
        self.rows |= dict.fromkeys(out.head(self.examples), reason)
        return rows.filter(~verdict)

    def ordered_counts(self) -> dict[str, int]:
        return {reason: self.counts[reason] for reason in REASONS if reason in self.counts}


def read(source: Source, rules: Rules, examples: int) -> Readings:
    """Every row of `source`, used or counted under the reason why not.

    Raises DataError where two rows contradict each other, a column has no numbers, or the times have no interval.
    """
    tally = Tally(examples)
    with readable(source.files):
        rows = _collect(source, rules)
    rows_read = len(rows)
    rows = _reject_unreadable(rows, source, tally)
    rows = _resolve_repeated_hour(rows, rules, tally)
    rows = tally.reject(rows, outside(pl.col("time"), rules.start, rules.end), OUTSIDE)
    interval = rules.interval
    if len(rows):
        interval = infer_interval(rows) if interval == "auto" else interval
        rows = _put_on_clock(rows, interval, rules, tally)
        rows = _reject_repetitions(rows, source, tally)
    return Readings(
        rows=rows,
        interval=interval,
        rows_read=rows_read,
        rejections=Rejections(tally.ordered_counts(), _examples(source, tally)),
        notes=_notes(rows),
    )


# ---------------------------------------------------------------- one row at a time


def _collect(source: Source, rules: Rules) -> pl.DataFrame:
    """row, series, time, latest, repeated, reason, v0, v1, ...: in streaming, so that only these are held."""
    schema = source.frame.collect_schema()
    time = read_instants(source.frame, source.time, timezone=rules.timezone)
    columns = [f"v{i}" for i in range(len(source.values))]
    read = source.frame.select(
        pl.col(ROW).alias("row"),
        source.series.alias("series"),
        time.instant.alias("time"),
        time.latest.alias("latest"),
        time.repeated.alias("repeated"),
        time.reason.alias("reason"),
        *(_number(name, schema[name]).alias(v) for name, v in zip(source.values, columns, strict=True)),
    )
    no_id = pl.when(pl.col("series").is_null()).then(pl.lit(NO_ID))
    no_number = pl.when(pl.any_horizontal(pl.col(v).is_infinite() for v in columns)).then(pl.lit(NOT_A_NUMBER))
    reason = pl.coalesce("reason", no_id, no_number).cast(pl.Enum(REASONS))
    return read.with_columns(reason.alias("reason")).collect(engine="streaming")


def _number(column: str, dtype: pl.DataType) -> pl.Expr:
    """The values of a column as numbers; null where there is none, infinite where there is something else."""
    value = pl.col(column)
    if isinstance(dtype, pl.String):
        text = value.str.strip_chars()
        given = text.str.to_lowercase().is_in(MISSING).not_()
        return pl.when(given).then(text.cast(pl.Float64, strict=False).fill_null(float("inf"))).fill_nan(None)
    if dtype.is_numeric() or isinstance(dtype, (pl.Boolean, pl.Null)):
        return value.cast(pl.Float64).fill_nan(None)
    raise DataError(f"column {column!r} holds {dtype} values, which are no numbers; leave it out of the values")


def _reject_unreadable(rows: pl.DataFrame, source: Source, tally: Tally) -> pl.DataFrame:
    if (rows["reason"] == NOT_A_NUMBER).any():
        _require_some_numbers(rows, source)
    for reason in REASONS:
        rows = tally.reject(rows, pl.col("reason") == reason, reason)
    return rows.drop("reason").with_columns(pl.col("series").cast(pl.Enum(in_order(rows["series"].unique()))))


def _require_some_numbers(rows: pl.DataFrame, source: Source) -> None:
    for i, column in enumerate(source.values):
        given = rows[f"v{i}"].drop_nulls()
        if len(given) and given.is_infinite().all():
            first = source.frame.select(pl.col(column).cast(pl.String)).filter(pl.col(column).str.strip_chars() != "")
            word = first.head(1).collect().item()
            decimals = "write decimals with a point, or " if "," in word else ""
            raise DataError(
                f"{source.files[0]}: column {column!r} has no numbers, only entries such as {word!r}; "
                f"{decimals}leave it out of the values (`columns.ignore` of a wide file)"
            )


# ---------------------------------------------------------------- rows among others


def _resolve_repeated_hour(rows: pl.DataFrame, rules: Rules, tally: Tally) -> pl.DataFrame:
    """Where a series has the same local time twice, the first row is the first pass and the others the second.

    Where it has it once, `repeated_hour` decides. Adds the column `resolved`.
    """
    unclear = rows.filter("repeated").sort("row")
    unclear = unclear.select(
        "row",
        rank=pl.int_range(pl.len()).over("series", "time"),
        times=pl.len().over("series", "time"),
    )
    rows = rows.join(unclear, on="row", how="left", maintain_order="left") if len(unclear) else _without(rows)
    alone = pl.col("times") == 1
    if rules.repeated_hour == "reject":
        rows = tally.reject(rows, alone, AMBIGUOUS)
    second = (pl.col("rank") > 0) | (alone & (rules.repeated_hour == "second"))
    return rows.with_columns(
        time=pl.when(second).then("latest").otherwise("time"),
        resolved=pl.col("repeated"),
    ).drop("latest", "repeated", "rank", "times")


def _without(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.lit(None, pl.Int64).alias(name) for name in ("rank", "times"))


def _put_on_clock(rows: pl.DataFrame, interval: str, rules: Rules, tally: Tally) -> pl.DataFrame:
    """Adds `step`. Steps of a day and more hold any time of theirs; shorter ones want rows at the usual minute.

    That minute is taken in absolute time or on the wall, as steps of several hours shift when the clocks change.
    """
    rows = rows.with_columns(step=floor_to(pl.col("time"), interval, rules.timezone))
    length = absolute_step(interval)
    if length is None:
        return rows
    wall = pl.col("time").dt.replace_time_zone(None)
    phases = rows.select(
        absolute=pl.col("time") - pl.col("step"),
        wall=pl.duration(
            microseconds=(wall - wall.dt.truncate("1d")).dt.total_microseconds() % (length // MICROSECOND)
        ),
    )
    usual = [phases[name] == phases[name].mode().min() for name in phases.columns]
    return tally.reject(rows.with_columns(off=~(usual[0] | usual[1])), pl.col("off"), OFF_CLOCK).drop("off")


def _reject_repetitions(rows: pl.DataFrame, source: Source, tally: Tally) -> pl.DataFrame:
    """Keep one row per series and step: equal rows are duplicates, another time in the same step is off the clock."""
    rows = rows.sort("series", "step", "time", "row")
    values = [name for name in rows.columns if name[0] == "v"]
    again = (pl.col("series") == pl.col("series").shift()) & (pl.col("step") == pl.col("step").shift())
    same_time = again & (pl.col("time") == pl.col("time").shift())
    equal = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in values)
    rows = rows.with_columns(again=again, twice=same_time, conflict=same_time & ~equal)
    if rows["conflict"].any():
        raise DataError(_contradiction(rows, source))
    rows = tally.reject(rows, pl.col("twice"), DUPLICATE)
    return tally.reject(rows, pl.col("again"), OFF_CLOCK).drop("again", "twice", "conflict")


def _contradiction(rows: pl.DataFrame, source: Source) -> str:
    at = int(rows["conflict"].arg_true()[0])
    one, other = rows.row(at - 1, named=True), rows.row(at, named=True)
    column = next(name for i, name in enumerate(source.values) if one[f"v{i}"] != other[f"v{i}"])
    v = f"v{source.values.index(column)}"
    told = " and ".join("nothing" if value is None else f"{value:g}" for value in (one[v], other[v]))
    series = f" of series {one['series']!r}" if one["series"] else ""
    more = int(rows["conflict"].sum()) - 1
    others = f", and {more:,} more like it" if more else ""
    return (
        f"{source.files[0]}: duplicate timestamp {one['time'].isoformat(' ')}{series}: column {column!r} has {told} "
        f"(rows {one['row'] + 1:,} and {other['row'] + 1:,}{others}); keep one of them"
    )


# ---------------------------------------------------------------- what became of them


def _notes(rows: pl.DataFrame) -> dict[str, int]:
    if rows.is_empty():
        return {}
    notes = {REPEATED: rows["resolved"].sum(), MOVED: (rows["time"] != rows["step"]).sum()}
    return {name: int(count) for name, count in notes.items() if count}


def _examples(source: Source, tally: Tally) -> pl.DataFrame:
    """The rows as the file has them, `reason` in front."""
    numbers = pl.DataFrame(
        {ROW: list(tally.rows), "reason": list(tally.rows.values())}, {ROW: pl.UInt32, "reason": pl.String}
    )
    with readable(source.files):
        found = source.frame.filter(pl.col(ROW).is_in(numbers[ROW].implode())).collect(engine="streaming")
    return numbers.join(found, on=ROW, how="left", maintain_order="left").drop(ROW, TIME, strict=False)
