"""Raw trips to flows between zones, and to inflow and outflow of each zone.

A trip counts in the step in which it starts as outflow of its source and as flow from source to target; it counts as
inflow of its target in the step in which it ends. One that starts inside the span and ends after it is a flow and an
outflow whose inflow falls outside the panel (noted as "ends after the span"). One that ends inside but starts before
the span is outside: its inflow is not counted either.

Where the wall clock repeats an hour and the first reading would make a trip end before it starts, its end is taken in
the second pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from data.clock import REPEATED, RepeatedHour, in_zone, read_instants
from data.dataset import Ingested
from data.flows import flow_panel, sum_flows
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
from data.tally import OUR, REASON, ROWS, tally
from data.zones import ZoneTable, read_zones, zone_id

BACKWARDS = "end before start"
OVER_LONG = "over-long trip"
REASONS = (*TIME_REASONS, BACKWARDS, OUTSIDE, UNKNOWN_ZONE, OVER_LONG, DUPLICATE)  # in order of precedence
ZERO = "zero duration"
LATE = "ends after the span"
START, END, SOURCE, TARGET, RESOLVED = (OUR + name for name in ("start", "end", "source", "target", "resolved"))


@dataclass(frozen=True)
class TripColumns:
    start: str
    end: str
    source: str
    target: str

    def names(self) -> tuple[str, ...]:
        return self.start, self.end, self.source, self.target


@dataclass(frozen=True)
class TripRules:
    """What makes a trip count; times are aware, `end` is the first instant that no longer counts."""

    timezone: str
    interval: str
    start: datetime | None
    end: datetime | None
    repeated_hour: RepeatedHour
    longest: timedelta
    known: tuple[str, ...] | None

    @classmethod
    def of(
        cls,
        *,
        timezone: str,
        interval: str,
        start: datetime | None,
        end: datetime | None,
        repeated_hour: RepeatedHour,
        max_trip_hours: float,
        static: pl.DataFrame | None,
    ) -> "TripRules":
        """Times without an offset are local in `timezone`; the known zones are the nodes of `static`."""
        return cls(
            timezone=timezone,
            interval=interval,
            start=in_zone(start, timezone) if start else None,
            end=in_zone(end, timezone) if end else None,
            repeated_hour=repeated_hour,
            longest=timedelta(hours=max_trip_hours),
            known=tuple(static["node"]) if static is not None else None,
        )


def read_trips(
    files: Sequence[Path],
    columns: TripColumns,
    *,
    timezone: str,
    interval: str = "1h",
    start: datetime | None = None,
    end: datetime | None = None,
    repeated_hour: RepeatedHour = "first",
    max_trip_hours: float = 24,
    zones: ZoneTable | None = None,
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> Ingested:
    """Count the trips of `files`, every row exactly once: as a flow, or under the reason why it is none.

    `start` and `end` bound the span (local in `timezone` where they have no offset; by default from the first to the
    last start of a trip). Nodes are those of the zone table in its order, or the zones that occur.
    Every cell of the panel is observed: no trip is a zero. Raises DataError, and TooManyRejected with the examples.
    """
    require_interval(interval)
    static = read_zones(zones) if zones else None
    rules = TripRules.of(
        timezone=timezone,
        interval=interval,
        start=start,
        end=end,
        repeated_hour=repeated_hour,
        max_trip_hours=max_trip_hours,
        static=static,
    )
    keys = {
        "departure": floor_to(pl.col(START), interval, timezone),
        "arrival": floor_to(pl.col(END), interval, timezone),
        "source": pl.col(SOURCE),
        "target": pl.col(TARGET),
    }
    sums = {ZERO: pl.col(START) == pl.col(END), REPEATED: pl.col(RESOLVED)}
    with readable(files):
        rows = scan_all(files, columns.names())
        counted = tally(judge(rows, columns, rules), keys, sums, REASONS, quarantine_examples)
    require_few(counted.rejections, counted.rows_read, max_rejected_share)
    panel = _panel(counted.cells, rules, static)
    return Ingested(
        panel=panel,
        flows=sum_flows(counted.cells, time="departure", weight=ROWS),
        rows_read=counted.rows_read,
        rows_used=counted.rows_used,
        rejections=counted.rejections,
        source_columns={column: str(dtype) for column, dtype in rows.collect_schema().items()},
        notes=_notes(counted.cells, panel),
    )


def judge(rows: pl.LazyFrame, columns: TripColumns, rules: TripRules) -> pl.LazyFrame:
    """The rows with what they mean, and the first reason why they don't count (null where they do)."""
    schema = rows.collect_schema()
    start, end = (
        read_instants(rows, column, timezone=rules.timezone, repeated_hour=rules.repeated_hour)
        for column in (columns.start, columns.end)
    )
    read = rows.with_columns(start.read.alias(START), end.read.alias(END))
    start, end = start.held_in(START), end.held_in(END)
    meant = read.with_columns(
        start.instant.alias(START),
        pl.when(end.repeated & (end.instant < start.instant)).then(end.latest).otherwise(end.instant).alias(END),
        (start.repeated | end.repeated).alias(RESOLVED),
        zone_id(columns.source, schema[columns.source]).alias(SOURCE),
        zone_id(columns.target, schema[columns.target]).alias(TARGET),
        first_reason(time_checks(start, end)).alias(REASON),
    )
    return meant.with_columns(pl.coalesce(REASON, first_reason(_trip_checks(rules))).alias(REASON))


def _trip_checks(rules: TripRules) -> dict[str, pl.Expr]:
    start, end = pl.col(START), pl.col(END)
    return {
        BACKWARDS: end < start,
        OUTSIDE: outside(start, rules.start, rules.end),
        UNKNOWN_ZONE: unknown_zone(SOURCE, rules.known) | unknown_zone(TARGET, rules.known),
        OVER_LONG: end - start > rules.longest,
    }


def _panel(cells: pl.DataFrame, rules: TripRules, static: pl.DataFrame | None) -> Panel:
    return flow_panel(
        departures=cells.select(time="departure", weight=ROWS, node="source"),
        arrivals=cells.select(time="arrival", weight=ROWS, node="target"),
        start=rules.start,
        end=rules.end,
        interval=rules.interval,
        timezone=rules.timezone,
        static=static,
    )


def _notes(cells: pl.DataFrame, panel: Panel) -> dict[str, int]:
    late = cells.filter(pl.col("arrival") > panel.index[-1].to_pydatetime())
    notes = {name: int(cells[name].sum()) for name in (REPEATED, ZERO)} | {LATE: int(late[ROWS].sum())}
    return {name: count for name, count in notes.items() if count}
