"""Flows as a panel: its nodes are where a flow begins, its variables are where it leads."""

from dataclasses import replace

import numpy as np
import polars as pl

from data.errors import DataError
from data.flows import step_of
from data.panel import Panel

MOST_ZONES = 100  # 10,000 flows; a backtest holds all of them for every cutoff, lead time and model


def target_variable(node: str) -> str:
    """The variable that counts what goes to `node`: after the name of a node it reads "A to B"."""
    return f"to {node}"


def pair_panel(flows: pl.DataFrame, panel: Panel) -> Panel:
    """The flows among the nodes of `panel` on its clock, values [T, N, N]: from node to variable, 0 where none is told.

    `flows` has the columns time, source, target, weight, each cell once; those from or to other nodes, or at other
    times, are left out. Steps at which `panel` has not observed a node have no flows from it. Raises DataError for
    more nodes than `MOST_ZONES`.
    """
    count = len(panel.nodes)
    if count > MOST_ZONES:
        raise DataError(
            f"{count:,} zones make {count**2:,} flows, more than the {MOST_ZONES**2:,} that are forecast side by side; "
            f"set task.busiest to {MOST_ZONES} or less"
        )
    values = np.zeros((len(panel.index), count, count))
    cells = _placed(flows, panel)
    values[cells["step"].to_numpy(), cells["from"].to_numpy(), cells["to"].to_numpy()] = cells["weight"].to_numpy()
    mask = np.repeat(panel.mask.any(axis=2, keepdims=True), count, axis=2)
    return replace(
        panel,
        values=np.where(mask, values, np.nan),
        mask=mask,
        variables=tuple(target_variable(node) for node in panel.nodes),
    )


def _placed(flows: pl.DataFrame, panel: Panel) -> pl.DataFrame:
    """The flows on the panel's clock and among its nodes, with their place in it: step, from, to."""
    clock = np.asarray(panel.index.as_unit("us").asi8)
    step = step_of(flows["time"], panel.index)
    on_clock = np.equal(clock[step.clip(max=len(clock) - 1)], flows["time"].dt.epoch("us").to_numpy())
    places = pl.DataFrame({"node": list(panel.nodes)}, schema={"node": pl.String}).with_row_index("place")
    return (
        flows.with_columns(step=pl.Series(step, dtype=pl.Int64))
        .filter(pl.Series(values=on_clock))
        .join(places.rename({"node": "source", "place": "from"}), on="source")
        .join(places.rename({"node": "target", "place": "to"}), on="target")
    )
