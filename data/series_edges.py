"""What moved between series: a file of (time, source, target, weight) that goes with their panel.

Its rows are judged as those of origin-destination counts are (`data.od`). The nodes and the span are the panel's: a row
about another node, or another time, does not count.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import polars as pl

from data.clock import RepeatedHour
from data.dataset import Ingested, Rejections
from data.od import OdColumns, OdRules, by_step, flows_of, notes_of, tally_od
from data.regular import steps_after
from data.rejections import require_few

V = TypeVar("V")
EDGE = "edge: "  # marks the reasons, notes and columns of the file of edges in the account of the data set


def with_edges(
    ingested: Ingested,
    files: Sequence[Path],
    columns: OdColumns,
    *,
    repeated_hour: RepeatedHour = "first",
    max_rejected_share: float = 0.05,
    quarantine_examples: int = 20,
) -> Ingested:
    """The series with these flows between them, and the rows of both in one account.

    Raises DataError, and TooManyRejected with the examples.
    """
    panel = ingested.panel
    rules = OdRules(
        timezone=panel.timezone,
        start=panel.index[0].to_pydatetime(),
        end=steps_after(panel.index[-1], panel.interval, 1)[0].to_pydatetime(),
        repeated_hour=repeated_hour,
        known=panel.nodes,
    )
    counted, types = tally_od(files, columns, rules, quarantine_examples)
    require_few(counted.rejections, counted.rows_read, max_rejected_share)
    return replace(
        ingested,
        flows=flows_of(by_step(counted.cells, panel.interval, panel.timezone)),
        rows_read=ingested.rows_read + counted.rows_read,
        rows_used=ingested.rows_used + counted.rows_used,
        rejections=_together(ingested.rejections, counted.rejections),
        source_columns=ingested.source_columns | _marked(types),
        notes=ingested.notes | _marked(notes_of(counted.cells)),
    )


def _together(series: Rejections, edges: Rejections) -> Rejections:
    marked = edges.examples.with_columns((EDGE + pl.col("reason")).alias("reason"))
    return Rejections(
        series.counts | _marked(edges.counts), pl.concat([series.examples, marked], how="diagonal_relaxed")
    )


def _marked(counts: dict[str, V]) -> dict[str, V]:
    return {EDGE + name: value for name, value in counts.items()}
