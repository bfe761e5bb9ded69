"""What is known of the nodes of a dynamic graph: one row of a file is a node at a step, with features and a label.

A table without times is static: its rows count at every step at which their node has an edge. With times, a node that
has a row but no edge at a step is there all the same, alone. Empty cells are not known: features become NaN, labels
UNLABELLED. Of several rows of a node at a step the first of the file counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import torch

from data.clock import REPEATED
from data.dataset import Rejections
from data.edge_events import IngestedSnapshots
from data.errors import DataError
from data.event_steps import moment
from data.event_times import RESOLVED, TIME, Epoch, EventTimes, as_number, with_time
from data.rejections import TIME_REASONS, first_reason, gather_examples, require_few_besides
from data.snapshots import UNLABELLED, Snapshot, Snapshots
from data.sources import readable, scan_all
from data.tally import OUR, REASON
from data.zones import in_order, zone_id

NO_NODE = "no node"
OFF_STEPS = "at no step of the edges"
NO_EDGE = "of a node without an edge"
NO_FEATURE = "feature is not a number"
NO_CLASS = "unknown class"
SECOND_ROW = "second row of a node at a step"
REASONS = (*TIME_REASONS, NO_NODE, OFF_STEPS, NO_EDGE, NO_FEATURE, NO_CLASS, SECOND_ROW)  # in order of precedence
ROW, STEP, NODE, CLASS = (OUR + name for name in ("row", "step", "node", "class"))
EVERY_STEP = 0  # of the rows of a static table


@dataclass(frozen=True)
class NodeColumns:
    """Columns of the file; those of one without a header are column_0, column_1, ..."""

    node: str = "node"
    time: str | None = None
    label: str | None = None
    features: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        named = (self.node, self.time, self.label, *self.features)
        return tuple(name for name in named if name is not None)


@dataclass(frozen=True)
class LabelRules:
    """Labels in `unknown` count as empty ones. `classes` are in the order of their numbers; None: those that occur."""

    unknown: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None


def add_node_table(
    graph: IngestedSnapshots,
    files: Sequence[Path],
    columns: NodeColumns,
    *,
    epoch: Epoch | None = None,
    timezone: str = "UTC",
    has_header: bool = True,
    labels: LabelRules = LabelRules(),
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> IngestedSnapshots:
    """The snapshots of `graph` with what `files` say of their nodes, and one account of the rows of both.

    Times are cut to the steps of the edges. Global ids stay; nodes that no edge names get the ones after them. Rows of
    a static table whose node has no edge don't count towards `max_rejected_share`, which holds for this table alone.
    Rows are streamed: what is held is one row per node and step.
    Raises DataError, and TooManyRejected with the examples.
    """
    times = EventTimes(graph.snapshots.interval, epoch, timezone)
    with readable(files):
        rows = scan_all(files, columns.names(), has_header=has_header)
        schema = rows.collect_schema()
        judged = _judge(rows, columns, graph, times, labels)
        first, rejections = _count(judged, columns, schema.names(), quarantine_examples)
    rows_read = len(first) + sum(rejections.counts.values())
    require_few_besides(NO_EDGE, rejections, rows_read, max_rejected_share)
    return IngestedSnapshots(
        snapshots=_with_nodes(graph.snapshots, first, columns, labels),
        moments=graph.moments,
        rows_read=graph.rows_read + rows_read,
        rows_used=graph.rows_used + len(first),
        rejections=_together(graph.rejections, rejections),
        source_columns=graph.source_columns | {f"nodes.{name}": str(dtype) for name, dtype in schema.items()},
        notes=_notes(graph.notes, first),
    )


# ---------------------------------------------------------------- one row at a time


def _judge(
    rows: pl.LazyFrame, columns: NodeColumns, graph: IngestedSnapshots, times: EventTimes, labels: LabelRules
) -> pl.LazyFrame:
    """The rows with step, node and class, and the first reason why they don't count (null where they do)."""
    schema = rows.collect_schema()
    meant = _with_step(rows.with_row_index(ROW), columns.time, graph.moments, times).with_columns(
        zone_id(columns.node, schema[columns.node]).alias(NODE), _class(columns, schema, labels.unknown).alias(CLASS)
    )
    is_static = pl.lit(columns.time is None)
    wrong = [_is_wrong(pl.col(name), schema[name]) for name in columns.features]
    checks = {
        NO_NODE: pl.col(NODE).is_null(),
        OFF_STEPS: pl.col(STEP).is_null(),
        NO_EDGE: is_static & ~pl.col(NODE).is_in(graph.snapshots.names),
        NO_FEATURE: pl.any_horizontal(wrong) if wrong else pl.lit(False),
        NO_CLASS: pl.lit(False) if labels.classes is None else ~pl.col(CLASS).is_in(labels.classes),
    }
    return meant.with_columns(pl.coalesce(REASON, first_reason(checks)).alias(REASON))


def _with_step(rows: pl.LazyFrame, column: str | None, moments: pl.Series, times: EventTimes) -> pl.LazyFrame:
    """Adds STEP (null where the edges have no such step), RESOLVED and REASON."""
    if column is None:
        step = pl.lit(EVERY_STEP, pl.Int32)
        return rows.with_columns(step.alias(STEP), pl.lit(False).alias(RESOLVED), pl.lit(None, pl.String).alias(REASON))
    timed = with_time(rows, column, times)
    if timed.collect_schema()[TIME].is_float() != moments.dtype.is_float():
        raise DataError(
            f"column {column!r} of the nodes and the times of the edges are of different kinds, numbers here and dates "
            "there; write both in the same way"
        )
    here = moment(pl.col(TIME), times.interval, times.timezone, moments[0]).cast(moments.dtype)
    steps = pl.LazyFrame({"moment": moments, STEP: np.arange(len(moments), dtype=np.int32)})
    joined = timed.with_columns(here.alias(OUR + "moment"))
    return joined.join(steps, left_on=OUR + "moment", right_on="moment", how="left", maintain_order="left")


def _class(columns: NodeColumns, schema: pl.Schema, unknown: tuple[str, ...]) -> pl.Expr:
    """The name of the class, null where it is not known."""
    if columns.label is None:
        return pl.lit(None, pl.String)
    name = zone_id(columns.label, schema[columns.label])
    return pl.when(~name.is_in(unknown)).then(name)


def _is_wrong(cell: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """True where the cell says something that is no finite number."""
    number = as_number(cell)
    said = cell.str.strip_chars() != "" if dtype == pl.String else cell.is_not_null()
    return (said & number.is_null()) | number.cast(pl.Float32).is_infinite().fill_null(False)


# ---------------------------------------------------------------- rows to snapshots


def _count(
    judged: pl.LazyFrame, columns: NodeColumns, shown: Sequence[str], examples: int
) -> tuple[pl.DataFrame, Rejections]:
    """The first row of each node at a step, and what became of the others."""
    counted = dict(judged.group_by(REASON).len().collect(engine="streaming").iter_rows())
    told = _told(judged, columns)
    first = told.filter(pl.struct(STEP, NODE).is_first_distinct())
    later = told.join(first.select(ROW), on=ROW, how="anti").head(examples)[ROW].implode()
    counted[SECOND_ROW] = len(told) - len(first)
    reason = pl.when(pl.col(ROW).is_in(later)).then(pl.lit(SECOND_ROW)).otherwise(REASON)
    occurring = [reason for reason in REASONS if counted.get(reason)]
    found = gather_examples(judged.with_columns(reason.alias(REASON)), REASON, occurring, shown, examples)
    return first.drop(ROW), Rejections({reason: counted.get(reason, 0) for reason in REASONS}, found)


def _told(judged: pl.LazyFrame, columns: NodeColumns) -> pl.DataFrame:
    """The rows that count in the order of the file, and those after the first of a node at a step."""
    counting = judged.filter(pl.col(REASON).is_null())
    features = (as_number(pl.col(name)).cast(pl.Float32).alias(name) for name in columns.features)
    return counting.select(ROW, STEP, NODE, CLASS, RESOLVED, *features).collect(engine="streaming").sort(ROW)


def _with_nodes(snapshots: Snapshots, told: pl.DataFrame, columns: NodeColumns, labels: LabelRules) -> Snapshots:
    known = set(snapshots.names)
    names = (*snapshots.names, *in_order(name for name in told[NODE].unique() if name not in known))
    classes = labels.classes or tuple(in_order(told[CLASS].drop_nulls().unique()))
    rows = told.select(
        STEP,
        pl.col(NODE).cast(pl.Enum(names)).to_physical().cast(pl.Int64),
        pl.col(CLASS).cast(pl.Enum(classes)).to_physical().cast(pl.Int64).fill_null(UNLABELLED),
        *(pl.col(name).fill_null(np.nan) for name in columns.features),
    ).sort(STEP, NODE)
    bounds = np.searchsorted(rows[STEP].to_numpy(), np.arange(len(snapshots) + 1))
    if columns.time is None:
        steps = [_told_of(snapshot, rows, columns) for snapshot in snapshots]
    else:
        parts = [rows[first:last] for first, last in pairwise(bounds)]
        grown = [_grown(snapshot, part[NODE].to_numpy()) for snapshot, part in zip(snapshots, parts, strict=True)]
        steps = [_told_of(snapshot, part, columns) for snapshot, part in zip(grown, parts, strict=True)]
    return replace(snapshots, steps=tuple(steps), names=names, features=columns.features, classes=classes)


def _grown(snapshot: Snapshot, more: np.ndarray) -> Snapshot:
    """The same edges among the nodes of the snapshot and the global ids `more`."""
    nodes = np.union1d(snapshot.nodes.numpy(), more)
    place = torch.from_numpy(np.searchsorted(nodes, snapshot.nodes.numpy()))
    return replace(snapshot, nodes=torch.from_numpy(nodes), edge_index=place[snapshot.edge_index])


def _told_of(snapshot: Snapshot, rows: pl.DataFrame, columns: NodeColumns) -> Snapshot:
    """The snapshot with what `rows`, by ascending ids, say of its nodes."""
    features = rows.select(columns.features).to_numpy() if columns.features else None
    ids, label = rows[NODE].to_numpy(), rows[CLASS].to_numpy()
    return replace(
        snapshot,
        x=None if features is None else _at(snapshot, ids, features, np.nan),
        node_label=None if columns.label is None else _at(snapshot, ids, label, UNLABELLED),
    )


def _at(snapshot: Snapshot, ids: np.ndarray, values: np.ndarray, missing: float) -> torch.Tensor:
    """`values` [M, ...] of the ascending global ids [M] for the nodes of the snapshot, `missing` of the others."""
    _, here, there = np.intersect1d(snapshot.nodes.numpy(), ids, assume_unique=True, return_indices=True)
    found = np.full((len(snapshot.nodes), *values.shape[1:]), missing, dtype=values.dtype)
    found[here] = values[there]
    return torch.from_numpy(found)


# ---------------------------------------------------------------- the account


def _together(edges: Rejections, nodes: Rejections) -> Rejections:
    reasons = dict.fromkeys((*edges.counts, *nodes.counts))
    counts = {reason: edges.counts.get(reason, 0) + nodes.counts.get(reason, 0) for reason in reasons}
    shown = [found.examples.with_columns(pl.all().cast(pl.String, strict=False)) for found in (edges, nodes)]
    return Rejections(counts, pl.concat(shown, how="diagonal"))


def _notes(edges: dict[str, int], told: pl.DataFrame) -> dict[str, int]:
    resolved = edges.get(REPEATED, 0) + int(told[RESOLVED].sum())
    return edges | ({REPEATED: resolved} if resolved else {})
