"""Origin-destination counts (time, source, target, weight) to flows, and to inflow and outflow of each zone.

Rows that fall in the same step, source and target are added up; noted where they give the very same time. A row
that is exactly equal to an earlier one is a duplicate and does not count.

A file of counts may omit the zeros, or miss whole stretches. So a step in which any row counts is observed at every
node, with 0 where nothing is said; a step of the span without one is not observed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from data.clock import REPEATED, RepeatedHour, in_zone, read_instants
from data.dataset import Ingested
from data.flows import flow_panel, step_of, sum_flows
from data.panel import Panel
from data.regular import floor_to
from data.rejections import (
    DUPLICATE,
    OUTSIDE,
    TIME_REASONS,
    UNKNOWN_ZONE,
    first_reason,
    outside,
    require_few,
    require_interval,
    time_checks,
    unknown_zone,
)
from data.sources import readable, scan_all
from data.tally import OUR, REASON, ROWS, Tally, tally
from data.zones import ZoneTable, read_zones, zone_id

NOT_A_NUMBER = "not a number"
NEGATIVE = "negative count"
REASONS = (*TIME_REASONS, OUTSIDE, UNKNOWN_ZONE, NOT_A_NUMBER, NEGATIVE, DUPLICATE)  # in order of precedence
ADDED = "added to another row of the same time, source and target"
TIME, SOURCE, TARGET, WEIGHT, RESOLVED = (OUR + name for name in ("time", "source", "target", "weight", "resolved"))


@dataclass(frozen=True)
class OdColumns:
    time: str = "time"
    source: str = "source"
    target: str = "target"
    weight: str = "weight"

    def names(self) -> tuple[str, ...]:
        return self.time, self.source, self.target, self.weight


@dataclass(frozen=True)
class OdRules:
    """What makes a row count; times are aware, `end` is the first instant that no longer counts."""

    timezone: str
    start: datetime | None
    end: datetime | None
    repeated_hour: RepeatedHour
    known: tuple[str, ...] | None


def read_od(
    files: Sequence[Path],
    columns: OdColumns,
    *,
    timezone: str,
    interval: str = "1h",
    start: datetime | None = None,
    end: datetime | None = None,
    repeated_hour: RepeatedHour = "first",
    zones: ZoneTable | None = None,
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> Ingested:
    """Add up the counts of `files`, every row used exactly once or rejected under a reason.

    The span is from `start` to `end` (local in `timezone` where they have no offset), by default from the first to
    the last row. Nodes are those of the zone table in its order, or the zones that occur. Weights are whole numbers
    where all of them are. Raises DataError, and TooManyRejected with the examples.
    """
    require_interval(interval)
    static = read_zones(zones) if zones else None
    rules = OdRules(
        timezone=timezone,
        start=in_zone(start, timezone) if start else None,
        end=in_zone(end, timezone) if end else None,
        repeated_hour=repeated_hour,
        known=tuple(static["node"]) if static is not None else None,
    )
    counted, source_columns = tally_od(files, columns, rules, quarantine_examples)
    require_few(counted.rejections, counted.rows_read, max_rejected_share)
    cells = by_step(counted.cells, interval, timezone)
    return Ingested(
        panel=_panel(cells, rules, interval, static),
        flows=flows_of(cells),
        rows_read=counted.rows_read,
        rows_used=counted.rows_used,
        rejections=counted.rejections,
        source_columns=source_columns,
        notes=notes_of(counted.cells),
    )


def tally_od(
    files: Sequence[Path], columns: OdColumns, rules: OdRules, quarantine_examples: int
) -> tuple[Tally, dict[str, str]]:
    """The rows by time, source and target or reason; and the columns of the files with their types."""
    keys = {"time": pl.col(TIME), "source": pl.col(SOURCE), "target": pl.col(TARGET)}
    sums = {"weight": pl.col(WEIGHT), REPEATED: pl.col(RESOLVED)}
    with readable(files):
        rows = scan_all(files, columns.names())
        counted = tally(_judge(rows, columns, rules), keys, sums, REASONS, quarantine_examples)
    return counted, {column: str(dtype) for column, dtype in rows.collect_schema().items()}


def by_step(cells: pl.DataFrame, interval: str, timezone: str) -> pl.DataFrame:
    return cells.with_columns(floor_to(pl.col("time"), interval, timezone), _settled(pl.col("weight")))


def flows_of(cells: pl.DataFrame) -> pl.DataFrame:
    """Flows: time, source, target, weight, which is whole where all weights are."""
    return sum_flows(cells, time="time", weight="weight").with_columns(_whole(cells["weight"]))


def _judge(rows: pl.LazyFrame, columns: OdColumns, rules: OdRules) -> pl.LazyFrame:
    """The rows with what they mean, and the first reason why they don't count (null where they do)."""
    schema = rows.collect_schema()
    time = read_instants(rows, columns.time, timezone=rules.timezone, repeated_hour=rules.repeated_hour)
    read, time = rows.with_columns(time.read.alias(TIME)), time.held_in(TIME)
    meant = read.with_columns(
        time.instant.alias(TIME),
        time.repeated.alias(RESOLVED),
        zone_id(columns.source, schema[columns.source]).alias(SOURCE),
        zone_id(columns.target, schema[columns.target]).alias(TARGET),
        pl.col(columns.weight).cast(pl.Float64, strict=False).alias(WEIGHT),
        first_reason(time_checks(time)).alias(REASON),
    )
    checks = {
        OUTSIDE: outside(pl.col(TIME), rules.start, rules.end),
        UNKNOWN_ZONE: unknown_zone(SOURCE, rules.known) | unknown_zone(TARGET, rules.known),
        NOT_A_NUMBER: ~pl.col(WEIGHT).is_finite().fill_null(False),
        NEGATIVE: pl.col(WEIGHT) < 0,
    }
    return meant.with_columns(pl.coalesce(REASON, first_reason(checks)).alias(REASON))


def _panel(cells: pl.DataFrame, rules: OdRules, interval: str, static: pl.DataFrame | None) -> Panel:
    panel = flow_panel(
        departures=cells.select("time", "weight", node="source"),
        arrivals=cells.select("time", "weight", node="target"),
        start=rules.start,
        end=rules.end,
        interval=interval,
        timezone=rules.timezone,
        static=static,
    )
    mask = np.zeros_like(panel.mask)
    mask[step_of(cells["time"], panel.index)] = True
    return replace(panel, mask=mask, values=np.where(mask, panel.values, np.nan))


def _settled(weight: pl.Expr) -> pl.Expr:
    """Sums of fractions depend on the order of the rows in their last digits, which threads change from run to run."""
    return weight.round_sig_figs(12)


def _whole(weight: pl.Series) -> pl.Expr:
    return pl.col("weight").cast(pl.Int64 if (weight % 1 == 0).all() else pl.Float64)


def notes_of(cells: pl.DataFrame) -> dict[str, int]:
    notes = {REPEATED: int(cells[REPEATED].sum()), ADDED: int((cells[ROWS] - 1).sum())}
    return {name: count for name, count in notes.items() if count}
