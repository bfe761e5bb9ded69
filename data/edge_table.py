"""A table of edges by step to snapshots: what every source of dynamic graphs ends with."""

from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import torch

from data.snapshots import Snapshot, Snapshots


def both_directions(edges: pl.LazyFrame) -> pl.LazyFrame:
    """Every edge and its reverse; a self-loop is its own reverse and stays once."""
    reverse = edges.filter(pl.col("source") != pl.col("target"))
    reverse = reverse.with_columns(source=pl.col("target"), target=pl.col("source"))
    return pl.concat([edges, reverse.select(edges.collect_schema().names())])


def snapshots_of(
    edges: pl.DataFrame, *, names: tuple[str, ...], clock: pd.Index, interval: str, is_directed: bool
) -> Snapshots:
    """One snapshot for each step of the clock, with the nodes that its edges name.

    `edges` has step, source, target (whole numbers: a position in the clock, global ids), weight, and may have label;
    sorted by these first three, each edge once a step.
    """
    columns = {name: edges[name].to_numpy() for name in edges.columns}
    bounds = np.searchsorted(columns["step"], np.arange(len(clock) + 1))
    parts = ({name: values[first:last] for name, values in columns.items()} for first, last in pairwise(bounds))
    return Snapshots(tuple(map(_snapshot, parts)), names, clock, interval, is_directed)


def _snapshot(edges: dict[str, np.ndarray]) -> Snapshot:
    source, target = edges["source"], edges["target"]
    nodes = np.union1d(source, target)
    # positions ascend with the global ids, so edges stay sorted
    local = np.stack([np.searchsorted(nodes, source), np.searchsorted(nodes, target)])
    label = edges.get("label")
    return Snapshot(
        nodes=torch.from_numpy(nodes.astype(np.int64)),
        edge_index=torch.from_numpy(local.astype(np.int64)),
        edge_weight=torch.from_numpy(edges["weight"].astype(np.float32)),
        edge_label=None if label is None else torch.from_numpy(label.astype(np.int64)),
    )
