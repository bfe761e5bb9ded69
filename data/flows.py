"""Flows between nodes, and the panel of what leaves and reaches each node."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl

from data.errors import DataError
from data.panel import Panel
from data.regular import absolute_step, regular_index
from data.zones import in_order

INFLOW, OUTFLOW = "inflow", "outflow"
MOST_CELLS = 250_000_000  # 2.3 GB of values and mask: more is a stray date in a file more often than a big city


def sum_flows(cells: pl.DataFrame, *, time: str, weight: str) -> pl.DataFrame:
    """Flows: time, source, target, weight; sorted, each cell once, none of weight 0."""
    flows = cells.group_by(pl.col(time).alias("time"), "source", "target").agg(pl.col(weight).sum().alias("weight"))
    return flows.filter(pl.col("weight") != 0).sort("time", "source", "target")


def flow_panel(
    departures: pl.DataFrame,
    arrivals: pl.DataFrame,
    *,
    start: datetime | None,
    end: datetime | None,
    interval: str,
    timezone: str,
    static: pl.DataFrame | None,
) -> Panel:
    """The panel of inflow and outflow from `start` to `end`, every cell observed, 0 where nothing moved.

    `departures` and `arrivals` have the columns time (start of a step), node, weight. An open end of the span is the
    first or last departure. Arrivals after the span are left out: the caller counts them. Nodes are those of
    `static`, or those that occur. Raises DataError where the panel would be absurdly large.
    """
    if static is None:
        static = pl.DataFrame({"node": in_order({*departures["node"], *arrivals["node"]})})
    times = departures["time"].sort()
    first, last = start or times[0], _instant_before(end) if end else times[-1]
    _require_room(first, last, interval, len(static))
    index = regular_index(first, last, interval, timezone)
    nodes = static["node"]
    values = np.stack([_grid(arrivals, index, nodes), _grid(departures, index, nodes)], axis=-1)  # [T, N, 2]
    return Panel(
        values=values,
        mask=np.ones(values.shape, dtype=bool),
        index=index,
        nodes=tuple(nodes),
        variables=(INFLOW, OUTFLOW),
        interval=interval,
        static=static,
    )


def step_of(time: pl.Series, index: pd.DatetimeIndex) -> np.ndarray:
    """The position of each step start in the index, len(index) for those after it."""
    return np.searchsorted(index.as_unit("us").asi8, time.dt.epoch("us").to_numpy())


def _grid(weights: pl.DataFrame, index: pd.DatetimeIndex, nodes: pl.Series) -> np.ndarray:
    """[T, N]"""
    places = nodes.to_frame("node").with_row_index("place")
    place = weights.join(places, on="node", how="left", maintain_order="left")["place"].to_numpy()
    step = step_of(weights["time"], index)
    within = step < len(index)
    grid = np.zeros((len(index), len(nodes)))
    np.add.at(grid, (step[within], place[within]), weights["weight"].to_numpy()[within])
    return grid


def _require_room(first: datetime, last: datetime, interval: str, nodes: int) -> None:
    step = absolute_step(interval) or timedelta(days=1)
    steps = (last - first) // step + 1
    if steps * nodes * 2 > MOST_CELLS:
        raise DataError(
            f"the panel would have {steps:,} steps from {first} to {last} for each of {nodes:,} zones, more than fit "
            f"({MOST_CELLS:,} cells); set `start` and `end` in the spec, or a longer `interval`"
        )


def _instant_before(end: datetime) -> datetime:
    """In absolute time: Python itself subtracts on the wall clock."""
    return end.astimezone(UTC) - timedelta(microseconds=1)
