"""Flows between nodes as one dense matrix a step: the edges that go with a window.

For panels of up to a few hundred nodes; `data.flow_snapshots` holds what flows between more.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import polars as pl

from data.errors import DataError
from data.flows import step_of

MOST_ENTRIES = 2**28  # 1 GiB


def flow_edges(flows: pl.DataFrame, index: pd.DatetimeIndex, nodes: Sequence[str], *, delay: int = 0) -> np.ndarray:
    """log(1 + flow) from node u to node v as it is known at each step of `index`: [T, N, N] float32.

    `flows` has time (the beginning of a step), source, target, weight; each cell once. Those of other nodes and of
    other steps are left out. With a `delay` the matrix of step t is that of t - delay: a trip is known when it has
    ended. Raises DataError where the matrices would fill the memory.
    """
    steps = len(index)
    require_room(steps, len(nodes))
    edges = np.zeros((steps, len(nodes), len(nodes)), dtype=np.float32)
    place = {name: i for i, name in enumerate(nodes)}
    known = flows.select(
        "time",
        pl.col("source", "target").replace_strict(place, default=None, return_dtype=pl.Int64),
        amount=pl.col("weight").cast(pl.Float64).log1p(),
    ).drop_nulls()
    step = step_of(known["time"], index) + delay
    within = step < steps
    within &= known["time"].dt.epoch("us").to_numpy() >= index.as_unit("us").asi8[0]
    ends = (known[name].to_numpy()[within] for name in ("source", "target"))
    edges[step[within], *ends] = known["amount"].to_numpy()[within]
    return edges


def require_room(steps: int, nodes: int) -> None:
    if steps * nodes**2 > MOST_ENTRIES:
        raise DataError(
            f"edges between {nodes:,} nodes at each of {steps:,} steps are {steps * nodes**2:,} numbers, more than "
            f"{MOST_ENTRIES:,}; keep fewer nodes (task.busiest), or a shorter span (data.start)"
        )
