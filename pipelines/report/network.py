"""The network over time: what is measured of a dynamic graph at each step, and how far it drifts.

Everything is worked out from edges, a row for each pair of nodes and step, and from the nodes that they touch: never
from all N^2 pairs.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl

from data.flows import step_of
from data.snapshots import Snapshots

MEASURES = ("degree", "strength")


@dataclass(frozen=True)
class NetworkCourse:
    """What the network is at each step of its clock.

    `steps` has a row a step: nodes (those with an edge), edges, weight (of all edges), mean_degree, largest_degree,
    mean_strength, largest_strength (null in a step without edges). `incidence` has a row for each step and node with
    an edge: degree, the edges that leave or reach it (a self-loop once), and strength, what they weigh.
    """

    clock: pd.Index  # [T], starts of steps with a time zone, or plain ranks
    steps: pl.DataFrame
    incidence: pl.DataFrame  # step, node, degree, strength

    def within(self, measure: str, first: int, last: int) -> np.ndarray:
        """Degree or strength of every node with an edge, over the steps `[first, last)`, ascending."""
        found = self.incidence.filter(pl.col("step").is_between(first, last, closed="left"))[measure]
        return found.sort().to_numpy()


def edges_of_flows(flows: pl.DataFrame, index: pd.DatetimeIndex) -> pl.DataFrame:
    """step, source, target, weight: the flows (time, source, target, weight) above 0, by their position in `index`."""
    step = pl.Series("step", step_of(flows["time"], index), dtype=pl.Int64)
    weight = pl.col("weight").cast(pl.Float64)
    return flows.select(step, "source", "target", weight).filter(pl.col("weight") > 0)


def edges_of_snapshots(snapshots: Snapshots) -> pl.DataFrame:
    """step, source, target, weight by name; of an undirected graph each edge once."""
    names = pl.Series(snapshots.names, dtype=pl.String)
    parts = [pl.DataFrame(schema={"step": pl.Int64, "source": pl.Int64, "target": pl.Int64, "weight": pl.Float64})]
    for step, snapshot in enumerate(snapshots.steps):
        source, target = snapshot.nodes[snapshot.edge_index].numpy()
        once = np.full(len(source), True) if snapshots.is_directed else source <= target
        weight = snapshot.edge_weight.numpy()[once].astype(float)
        ends = {"source": source[once], "target": target[once]}
        parts.append(pl.DataFrame({"step": np.full(len(weight), step), **ends, "weight": weight}))
    edges = pl.concat(parts)
    return edges.with_columns(names.gather(edges[end]).alias(end) for end in ("source", "target"))


def network_course(edges: pl.DataFrame, clock: pd.Index) -> NetworkCourse:
    """`edges` (step, source, target, weight), each once a step, on a clock of T steps."""
    incidence = _incidence(edges)
    of_nodes = incidence.group_by("step").agg(
        pl.len().cast(pl.Int64).alias("nodes"),
        *(pl.col(measure).mean().alias(f"mean_{measure}") for measure in MEASURES),
        *(pl.col(measure).max().alias(f"largest_{measure}") for measure in MEASURES),
    )
    of_edges = edges.group_by("step").agg(pl.len().cast(pl.Int64).alias("edges"), pl.col("weight").sum())
    steps = pl.DataFrame({"step": np.arange(len(clock))})
    for part in (of_nodes, of_edges):
        steps = steps.join(part, on="step", how="left", maintain_order="left")
    return NetworkCourse(clock, steps.with_columns(pl.col("nodes", "edges", "weight").fill_null(0)), incidence)


def _incidence(edges: pl.DataFrame) -> pl.DataFrame:
    """No larger than a panel of the same nodes: it has at most T N rows."""
    lazy = edges.lazy()
    leaving = lazy.select("step", pl.col("source").alias("node"), "weight")
    no_loop = lazy.filter(pl.col("source") != pl.col("target"))
    reaching = no_loop.select("step", pl.col("target").alias("node"), "weight")
    measured = pl.len().cast(pl.Int64).alias("degree"), pl.col("weight").sum().alias("strength")
    return pl.concat([leaving, reaching]).group_by("step", "node").agg(measured).collect(engine="streaming")


def at_least(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct `values` (ascending), and the share of all that is at least each of them."""
    distinct = np.unique(values)
    return distinct, 1 - np.searchsorted(values, distinct) / len(values)


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between the two distributions (Kolmogorov and Smirnov's), from 0 to 1; both ascending.

    The total variation distance would call two samples of one distribution far apart where most values are rare.
    """
    at = np.concatenate([one, other])
    shares = [np.searchsorted(values, at, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
