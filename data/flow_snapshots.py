"""Flows between zones to snapshots: one graph a step, with an edge where something moved."""

from typing import Literal

import numpy as np
import polars as pl

from data.edge_table import snapshots_of
from data.flows import step_of
from data.panel import Panel
from data.snapshots import Snapshots


def flow_snapshots(flows: pl.DataFrame, panel: Panel, *, weight: Literal["flow", "log1p"] = "flow") -> Snapshots:
    """The flows (time, source, target, weight; unique) of a data set on the clock and among the nodes of its panel.

    Edges run from origin to destination and weigh the flow or log(1 + flow); global ids are positions in `panel.nodes`,
    and a step without flows is an empty snapshot.
    Raises ValueError for a flow off the clock, of an unknown node, or below 0.
    """
    step, source, target = _steps(flows, panel), _ids(flows["source"], panel), _ids(flows["target"], panel)
    amount = flows["weight"].cast(pl.Float64).to_numpy()
    _require_counts(flows, amount)
    edges = pl.DataFrame(
        {
            "step": step,
            "source": source,
            "target": target,
            "weight": np.log1p(amount) if weight == "log1p" else amount,
        }
    )
    return snapshots_of(
        edges.filter(pl.col("weight") > 0).sort("step", "source", "target"),
        names=panel.nodes,
        clock=panel.index,
        interval=panel.interval,
        is_directed=True,
    )


def _steps(flows: pl.DataFrame, panel: Panel) -> np.ndarray:
    step = step_of(flows["time"], panel.index)
    starts = panel.index.as_unit("us").asi8
    off = starts[step.clip(max=len(starts) - 1)] != flows["time"].dt.epoch("us").to_numpy()
    if off.any():
        time = flows["time"][int(off.argmax())]
        raise ValueError(f"the flow at {time} begins no step of the panel; take flows and panel of one data set")
    return step


def _ids(names: pl.Series, panel: Panel) -> pl.Series:
    ids = names.cast(pl.Enum(panel.nodes), strict=False)
    if ids.null_count():
        unknown = names.filter(ids.is_null())[0]
        raise ValueError(f"a flow names node {unknown!r}, which is not among the {len(panel.nodes)} of the panel")
    return ids.to_physical().cast(pl.Int64)


def _require_counts(flows: pl.DataFrame, amount: np.ndarray) -> None:
    wrong = ~(amount >= 0)
    if wrong.any():
        first = flows.row(int(wrong.argmax()), named=True)
        raise ValueError(
            f"the flow from {first['source']!r} to {first['target']!r} at {first['time']} is {first['weight']}; "
            "flows are 0 and more"
        )
