"""Timestamped edge lists to snapshots: one row of a file is one event between two nodes.

Events of the same step, source and target become one edge; their weights add up (each event weighs 1 where the file
has no weights). A row that repeats another is one more event, not a duplicate. A label is the majority of signs: 1
where more events of the edge are rated above 0 than not, else 0, so that a tie is negative.

Steps are those of `data.event_steps`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import polars as pl

from data.clock import REPEATED
from data.dataset import Rejections
from data.duplicates import COPIES
from data.edge_table import both_directions, snapshots_of
from data.event_steps import moment, number_steps, require_kind, step_moments
from data.event_times import RESOLVED, TIME, Epoch, EventTimes, as_number, with_time
from data.rejections import TIME_REASONS, first_reason, gather_examples, require_few_besides, unknown_zone
from data.snapshots import Snapshots
from data.sources import readable, scan_all
from data.tally import OUR, REASON, ROWS, cells_by_reason
from data.zones import in_order, zone_id

UNKNOWN_NODE = "unknown node"
NO_WEIGHT = "weight is not a number"
NEGATIVE = "negative weight"
NO_LABEL = "label is not a number"
SELF_LOOP = "self-loop"
REASONS = (*TIME_REASONS, UNKNOWN_NODE, NO_WEIGHT, NEGATIVE, NO_LABEL, SELF_LOOP)  # in order of precedence
WEIGHTLESS = "of an edge whose weights add up to 0"
SOURCE, TARGET, WEIGHT, LABEL = (OUR + name for name in ("source", "target", "weight", "label"))


@dataclass(frozen=True)
class EventColumns:
    """Columns of the file; those of one without a header are column_0, column_1, ..."""

    source: str = "source"
    target: str = "target"
    time: str = "time"
    weight: str | None = None
    label: str | None = None

    def names(self) -> tuple[str, ...]:
        named = (self.source, self.target, self.time, self.weight, self.label)
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True)
class EventRules:
    """What rows mean, and which of them count."""

    times: EventTimes
    nodes: tuple[str, ...] | None
    keep_self_loops: bool


@dataclass(frozen=True)
class IngestedSnapshots:
    """The snapshots of a file and what became of its rows: `rows_read == rows_used + sum(rejections.counts)`.

    `moments` [T] is what the events of each step have in common, as `data.event_steps.moment` says it.
    """

    snapshots: Snapshots
    moments: pl.Series
    rows_read: int
    rows_used: int
    rejections: Rejections
    source_columns: dict[str, str]
    notes: dict[str, int] = field(default_factory=dict)


def read_edge_events(
    files: Sequence[Path],
    columns: EventColumns,
    *,
    interval: str,
    epoch: Epoch | None = None,
    timezone: str = "UTC",
    has_header: bool = True,
    is_directed: bool = True,
    keep_self_loops: bool = True,
    nodes: Sequence[str] | None = None,
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> IngestedSnapshots:
    """The snapshots of `files` (.csv, .tsv, .txt, also .gz, or .parquet), every row used once or rejected.

    `epoch` says what numbers in the time column count since 1970; without it times are dates, or with "rank" any
    numbers. Where the graph is undirected each event counts in both directions (a self-loop once). Global ids are
    positions in `nodes`, or in the sorted names that occur. Self-loops that are not kept don't count towards
    `max_rejected_share`. Rows are streamed: what is held is one row per edge and step.
    Raises DataError, and TooManyRejected with the examples.
    """
    require_kind(interval)
    times = EventTimes(interval, epoch, timezone)
    rules = EventRules(times, tuple(nodes) if nodes is not None else None, keep_self_loops)
    with readable(files):
        rows = scan_all(files, columns.names(), has_header=has_header)
        judged = _judge(rows, columns, rules)
        known, first = _survey(judged, rules)
        found = cells_by_reason(
            judged.with_columns(pl.lit(1, pl.Int64).alias(COPIES)), *_keys(columns, rules, known, first)
        )
        rejections = _rejections(found, judged, rows.collect_schema().names(), quarantine_examples)
    rows_read = int(found[ROWS].sum())
    require_few_besides(SELF_LOOP, rejections, rows_read, max_rejected_share)
    cells = found.filter(pl.col(REASON).is_null()).drop(REASON)
    snapshots = _snapshots(cells, known, rules, is_directed)
    return IngestedSnapshots(
        snapshots=snapshots,
        moments=step_moments(snapshots.clock, cells["moment"]),
        rows_read=rows_read,
        rows_used=int(cells[ROWS].sum()),
        rejections=rejections,
        source_columns={column: str(dtype) for column, dtype in rows.collect_schema().items()},
        notes=_notes(cells),
    )


# ---------------------------------------------------------------- one row at a time


def _judge(rows: pl.LazyFrame, columns: EventColumns, rules: EventRules) -> pl.LazyFrame:
    """The rows with what they mean, and the first reason why they don't count (null where they do)."""
    schema = rows.collect_schema()
    meant = with_time(rows, columns.time, rules.times).with_columns(
        zone_id(columns.source, schema[columns.source]).alias(SOURCE),
        zone_id(columns.target, schema[columns.target]).alias(TARGET),
        _number(columns.weight).alias(WEIGHT),
        _number(columns.label).alias(LABEL),
    )
    checks = {
        UNKNOWN_NODE: unknown_zone(SOURCE, rules.nodes) | unknown_zone(TARGET, rules.nodes),
        NO_WEIGHT: ~pl.col(WEIGHT).is_finite().fill_null(False),
        NEGATIVE: pl.col(WEIGHT) < 0,
        NO_LABEL: pl.col(LABEL).is_null() | pl.col(LABEL).is_nan(),
        SELF_LOOP: pl.lit(not rules.keep_self_loops) & (pl.col(SOURCE) == pl.col(TARGET)),
    }
    return meant.with_columns(pl.coalesce(REASON, first_reason(checks)).alias(REASON))


def _number(column: str | None) -> pl.Expr:
    return pl.lit(1.0) if column is None else as_number(pl.col(column))


# ---------------------------------------------------------------- rows to cells


def _survey(judged: pl.LazyFrame, rules: EventRules) -> tuple[tuple[str, ...], datetime | float]:
    """The names of the nodes, and the first time that counts."""
    counting = judged.filter(pl.col(REASON).is_null()).select(SOURCE, TARGET, TIME)
    ends = pl.concat([counting.select(pl.col(end).alias("node")) for end in (SOURCE, TARGET)])
    first, names = pl.collect_all([counting.select(pl.col(TIME).min()), ends.unique()], engine="streaming")
    return rules.nodes or tuple(in_order(names["node"])), first.item()


def _keys(
    columns: EventColumns, rules: EventRules, names: tuple[str, ...], first: datetime | float
) -> tuple[dict[str, pl.Expr], dict[str, pl.Expr]]:
    """What makes a cell, and what is added up in it; nodes by their global id, which is smaller than a name."""
    source, target = (
        pl.col(end).cast(pl.Enum(names), strict=False).to_physical().cast(pl.Int32) for end in (SOURCE, TARGET)
    )
    keys = {
        "moment": moment(pl.col(TIME), rules.times.interval, rules.times.timezone, first),
        "source": source,
        "target": target,
    }
    sums = {"weight": pl.col(WEIGHT), REPEATED: pl.col(RESOLVED)}
    if columns.label is not None:
        sums["label"] = pl.when(pl.col(LABEL) > 0).then(1).otherwise(-1)
    return keys, sums


def _rejections(found: pl.DataFrame, judged: pl.LazyFrame, columns: list[str], examples: int) -> Rejections:
    counted = dict(found.group_by(REASON).agg(pl.col(ROWS).sum()).iter_rows())
    occurring = [reason for reason in REASONS if reason in counted]
    shown = gather_examples(judged, REASON, occurring, columns, examples)
    return Rejections({reason: counted.get(reason, 0) for reason in REASONS}, shown)


def _notes(cells: pl.DataFrame) -> dict[str, int]:
    notes = {REPEATED: int(cells[REPEATED].sum()), WEIGHTLESS: int(cells.filter(pl.col("weight") == 0)[ROWS].sum())}
    return {name: count for name, count in notes.items() if count}


# ---------------------------------------------------------------- cells to snapshots


def _snapshots(cells: pl.DataFrame, names: tuple[str, ...], rules: EventRules, is_directed: bool) -> Snapshots:
    times = rules.times
    step, clock = number_steps(cells["moment"], times.interval, times.timezone)
    edges = cells.lazy().select(
        pl.lit(pl.Series(step)).cast(pl.Int32).alias("step"),
        "source",
        "target",
        pl.col("weight").round_sig_figs(12),  # sums of fractions depend on the order in which threads add them
        *((pl.col("label"),) if "label" in cells.columns else ()),
    )
    if not is_directed:
        edges = both_directions(edges).group_by("step", "source", "target").agg(pl.all().sum())
    edges = edges.filter(pl.col("weight") != 0).sort("step", "source", "target")
    if "label" in cells.columns:
        edges = edges.with_columns((pl.col("label") > 0).cast(pl.Int8))
    return snapshots_of(
        edges.collect(engine="streaming"),
        names=names,
        clock=clock,
        interval=times.interval,
        is_directed=is_directed,
    )
