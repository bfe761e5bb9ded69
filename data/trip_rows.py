"""Raw trips one by one, for counts that must be bounded by person before they are counted.

A row counts, or is rejected, for the reasons that `data.trips` has, and one more: a row that does not say whose trip it
is. Rows are held in memory, with the few columns that counting needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from data.clock import RepeatedHour
from data.dataset import Rejections
from data.regular import floor_to
from data.rejections import require_few, require_interval
from data.sources import readable, scan_all
from data.tally import OUR, REASON, tally
from data.trips import END, REASONS, SOURCE, START, TARGET, TripColumns, TripRules, judge
from data.zones import ZoneTable, read_zones, zone_id

NO_PERSON = "no person"
PERSON = OUR + "person"


@dataclass(frozen=True)
class TripRows:
    """`rows`: person (null where nobody asked), start and end, departure and arrival (their steps), source, target."""

    rows: pl.DataFrame
    rejections: Rejections


def read_trip_rows(
    files: Sequence[Path],
    columns: TripColumns,
    *,
    person: str | None,
    timezone: str,
    interval: str,
    start: datetime | None,
    end: datetime | None,
    repeated_hour: RepeatedHour,
    max_trip_hours: float,
    zones: ZoneTable | None,
    max_rejected_share: float,
    quarantine_examples: int,
) -> TripRows:
    """The trips of `files` that count, exact copies once. Raises DataError, and TooManyRejected with the examples."""
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
    with readable(files):
        rows = scan_all(files, [*columns.names(), *([person] if person else [])])
        judged = _with_person(judge(rows, columns, rules), person, rows.collect_schema())
        reasons = (*REASONS[:-1], NO_PERSON, REASONS[-1])
        counted = tally(judged, {"source": pl.col(SOURCE)}, {}, reasons, quarantine_examples)
        require_few(counted.rejections, counted.rows_read, max_rejected_share)
        found = judged.filter(pl.col(REASON).is_null()).unique(rows.collect_schema().names(), maintain_order=True)
        steps = (floor_to(pl.col(time), interval, timezone) for time in (START, END))
        kept = found.select(
            pl.col(PERSON).alias("person"),
            pl.col(START).alias("start"),
            pl.col(END).alias("end"),
            *(step.alias(name) for step, name in zip(steps, ("departure", "arrival"), strict=True)),
            pl.col(SOURCE).alias("source"),
            pl.col(TARGET).alias("target"),
        ).collect()
    return TripRows(kept, counted.rejections)


def _with_person(judged: pl.LazyFrame, person: str | None, schema: pl.Schema) -> pl.LazyFrame:
    if person is None:
        return judged.with_columns(pl.lit(None, pl.String).alias(PERSON))
    named = judged.with_columns(zone_id(person, schema[person]).alias(PERSON))
    nobody = pl.when(pl.col(PERSON).is_null()).then(pl.lit(NO_PERSON))
    return named.with_columns(pl.coalesce(REASON, nobody).alias(REASON))
