"""Wide and long files of series to a panel.

Long: one row per series and time, as Nixtla's tools have it (`unique_id, ds, y`). Wide: one row per time and one
column per node; several variables are several files. What a file doesn't say stays unobserved in the mask; what it
says wrongly is rejected row by row (`data.readings`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pandas as pd
import polars as pl

from data import readings
from data.clock import RepeatedHour, in_zone
from data.dataset import Ingested, Rejections
from data.errors import DataError
from data.flows import MOST_CELLS
from data.panel import Panel
from data.readings import ROW, TIME, Readings, Rules, Source
from data.regular import absolute_step, regular_index
from data.rejections import require_few
from data.sources import scan_all
from data.treatment import Stretch, Treatment, treat
from data.zones import ZoneTable, in_order, read_zones, zone_id

NAMELESS = ("", "__index_level_0__")  # where pandas writes its row numbers


def read_long(
    files: Sequence[Path],
    *,
    id: str = "unique_id",
    time: str = "ds",
    values: Sequence[str] = ("y",),
    timezone: str = "UTC",
    interval: str = "auto",
    start: datetime | None = None,
    end: datetime | None = None,
    repeated_hour: RepeatedHour = "first",
    kind: Literal["counts", "real"] = "real",
    difference: bool = False,
    unobserved: Sequence[Stretch] = (),
    zones: ZoneTable | None = None,
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> Ingested:
    """The series of `files`, one node each, one variable per column of `values`.

    Nodes are in the order of their ids, so the order of rows doesn't matter. `start`, `end` and the bounds of
    `unobserved` are local in `timezone` where they have no offset. `difference` turns running totals into what came
    anew in each step. Raises DataError, and TooManyRejected with the examples.
    """
    if not values:
        raise DataError("data.columns.values names no column; name what was measured")
    try:
        frame = scan_all(files, [id, time, *values])
    except DataError as error:
        if f"no column {id!r}" not in str(error):
            raise
        raise DataError(f"{error}; a file of a single series, without an id, is read with kind = 'wide'") from None
    schema = frame.collect_schema()
    source = Source(
        files=files,
        frame=frame.with_row_index(ROW),
        series=zone_id(id, schema[id]),
        time=time,
        values=tuple(values),
    )
    read = readings.read(source, _rules(timezone, interval, start, end, repeated_hour), quarantine_examples)
    require_few(read.rejections, read.rows_read, max_rejected_share)
    nodes = in_order(read.rows["series"].unique().cast(pl.String))
    index = _index([read], timezone, len(nodes) * len(values))
    cells = np.full((len(index), len(nodes), len(values)), np.nan)  # [T, N, F]
    node = read.rows["series"].cast(pl.Enum(nodes)).to_physical().to_numpy()
    cells[_steps(read, index), node] = _values(read)
    panel = _panel(cells, index, nodes, list(values), read.interval, _static(nodes, zones))
    treated = treat(panel, Treatment(kind == "counts", difference, unobserved))
    return _ingested(treated, [read], [source])


def read_wide(
    files: Mapping[str, Sequence[Path]],
    *,
    time: str | Sequence[str] = "time",
    values: Sequence[str] | Literal["rest"] = "rest",
    ignore: Sequence[str] = (),
    timezone: str = "UTC",
    interval: str = "auto",
    start: datetime | None = None,
    end: datetime | None = None,
    repeated_hour: RepeatedHour = "first",
    kind: Literal["counts", "real"] = "real",
    difference: bool = False,
    unobserved: Sequence[Stretch] = (),
    zones: ZoneTable | None = None,
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> Ingested:
    """The series of `files` (by variable), one node per column: those of `values`, or the rest that `ignore` leaves.

    Nodes are in the order of the columns; one that a variable's files lack is unobserved there. The columns of `time`
    (date, clock) are joined. A row counts once for each variable. Everything else is as in `read_long`.
    """
    times = [time] if isinstance(time, str) else list(time)
    sources = {variable: _wide_source(paths, times, values, ignore) for variable, paths in files.items()}
    rules = _rules(timezone, interval, start, end, repeated_hour)
    reads = {variable: readings.read(source, rules, quarantine_examples) for variable, source in sources.items()}
    for read in reads.values():
        require_few(read.rejections, read.rows_read, max_rejected_share)
    nodes = list(dict.fromkeys(node for source in sources.values() for node in source.values))
    index = _index(list(reads.values()), timezone, len(nodes) * len(files))
    cells = np.full((len(index), len(nodes), len(files)), np.nan)  # [T, N, F]
    for f, (variable, read) in enumerate(reads.items()):
        columns = np.array([nodes.index(node) for node in sources[variable].values])
        cells[_steps(read, index)[:, None], columns, f] = _values(read)
    found = next(iter(reads.values())).interval
    panel = _panel(cells, index, nodes, list(files), found, _static(nodes, zones))
    treated = treat(panel, Treatment(kind == "counts", difference, unobserved))
    return _ingested(treated, list(reads.values()), list(sources.values()))


# ---------------------------------------------------------------- files


def _rules(
    timezone: str, interval: str, start: datetime | None, end: datetime | None, repeated_hour: RepeatedHour
) -> Rules:
    return Rules(
        timezone=timezone,
        interval=interval,
        start=in_zone(start, timezone) if start else None,
        end=in_zone(end, timezone) if end else None,
        repeated_hour=repeated_hour,
    )


def _wide_source(
    files: Sequence[Path], times: list[str], values: Sequence[str] | Literal["rest"], ignore: Sequence[str]
) -> Source:
    named = [] if values == "rest" else list(values)
    frame = scan_all(files, [*times, *ignore, *named])
    schema = frame.collect_schema()
    left_out = {*times, *ignore, *NAMELESS}
    nodes = named or [column for column in schema if column not in left_out]
    if not nodes:
        raise DataError(
            f"{files[0]}: no column is left for values besides {', '.join(map(repr, left_out - {*NAMELESS}))}"
        )
    joined = pl.concat_str([_text(column, schema[column]) for column in times], separator=" ")
    whole = pl.col(times[0]) if len(times) == 1 else joined
    return Source(
        files=files,
        frame=frame.with_row_index(ROW).with_columns(whole.alias(TIME)),
        series=pl.lit(""),
        time=TIME,
        values=tuple(nodes),
    )


def _text(column: str, dtype: pl.DataType) -> pl.Expr:
    """A date, even where it was stored as a midnight; anything else as it is written."""
    return (pl.col(column).dt.date() if isinstance(dtype, pl.Datetime) else pl.col(column)).cast(pl.String)


# ---------------------------------------------------------------- the clock and the grid


def _index(reads: Sequence[Readings], timezone: str, columns: int) -> pd.DatetimeIndex:
    """Every step from the first to the last of all `reads`, which must agree on the interval."""
    intervals = [read.interval for read in reads]
    if len(set(intervals)) > 1:
        raise DataError(f"the variables come in different intervals ({', '.join(intervals)}); bring them to one")
    steps = pl.concat([read.rows["step"] for read in reads])
    first, last = cast(datetime, steps.min()), cast(datetime, steps.max())
    _require_room(first, last, intervals[0], columns)
    return regular_index(first, last, intervals[0], timezone)


def _require_room(first: datetime, last: datetime, interval: str, columns: int) -> None:
    """One stray year in a file of minutes would fill the memory."""
    step = absolute_step(interval) or timedelta(days=1)
    cells = ((last - first) // step + 1) * columns
    if cells > MOST_CELLS:
        raise DataError(
            f"the panel would have {cells:,} cells (steps of {interval} from {first.isoformat(' ')} to "
            f"{last.isoformat(' ')}), more than {MOST_CELLS:,}; "
            "if one of these times is a mistake, set data.start or data.end"
        )


def _steps(read: Readings, index: pd.DatetimeIndex) -> np.ndarray:
    return np.searchsorted(index.as_unit("us").asi8, read.rows["step"].dt.epoch("us").to_numpy())


def _values(read: Readings) -> np.ndarray:
    """[rows, columns], NaN where there is none."""
    columns = [name for name in read.rows.columns if name.startswith("v")]
    return read.rows.select(pl.col(columns).fill_null(np.nan)).to_numpy()


def _static(nodes: list[str], zones: ZoneTable | None) -> pl.DataFrame:
    """What the zone table knows of the nodes; a node that it lacks has nulls."""
    static = pl.DataFrame({"node": nodes}, schema={"node": pl.String})
    return static.join(read_zones(zones), on="node", how="left", maintain_order="left") if zones else static


def _panel(
    values: np.ndarray,
    index: pd.DatetimeIndex,
    nodes: list[str],
    variables: list[str],
    interval: str,
    static: pl.DataFrame,
) -> Panel:
    return Panel(
        values=values,
        mask=~np.isnan(values),
        index=index,
        nodes=tuple(nodes),
        variables=tuple(variables),
        interval=interval,
        static=static,
    )


# ---------------------------------------------------------------- the result


def _ingested(panel: Panel, reads: Sequence[Readings], sources: Sequence[Source]) -> Ingested:
    rejections = Rejections(
        counts=_sum([read.rejections.counts for read in reads]),
        examples=pl.concat([read.rejections.examples for read in reads], how="diagonal_relaxed"),
    )
    schemas = [source.frame.drop(ROW, TIME, strict=False).collect_schema() for source in sources]
    return Ingested(
        panel=panel,
        flows=None,
        rows_read=sum(read.rows_read for read in reads),
        rows_used=sum(len(read.rows) for read in reads),
        rejections=rejections,
        source_columns={column: str(dtype) for schema in schemas for column, dtype in schema.items()},
        notes=_sum([read.notes for read in reads]),
    )


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for one in counts for name in one)
    return {name: sum(one.get(name, 0) for one in counts) for name in names}
