"""Static graphs that somebody else made: an adjacency matrix, or a list of edges."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from data.edge_table import both_directions
from data.snapshots import Snapshot, whole_graph


def matrix_graph(adjacency: np.ndarray) -> Snapshot:
    """The graph of `adjacency` [N, N]: an edge from i to j where its entry [i, j] is above 0, which is its weight.

    Raises ValueError where it isn't square or an entry is negative or no number.
    """
    if adjacency.ndim != 2 or len(set(adjacency.shape)) != 1:
        raise ValueError(f"an adjacency matrix is square, one row and one column a node, not {list(adjacency.shape)}")
    wrong = ~(adjacency >= 0) | np.isinf(adjacency)
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise ValueError(
            f"the adjacency matrix has {adjacency[i, j]:g} from node {i} to node {j}; weights are finite numbers of 0 "
            "and more"
        )
    source, target = np.nonzero(adjacency)
    return whole_graph(len(adjacency), source, target, adjacency[source, target])


def edge_list_graph(edges: pl.DataFrame, nodes: Sequence[str], *, is_directed: bool) -> Snapshot:
    """The graph of `edges` with the columns source, target and, where edges differ, weight; repeated edges add up.

    Ids are positions in `nodes`. Where the graph is undirected each edge counts in both directions (a self-loop once).
    Raises ValueError for an edge that names an unknown node, and for a weight that is negative or no number.
    """
    _require_columns(edges)
    ids = edges.select(_ids(edges, end, nodes) for end in ("source", "target"))
    weight = edges["weight"].cast(pl.Float64) if "weight" in edges.columns else pl.repeat(1.0, len(edges), eager=True)
    _require_weights(edges, weight)
    listed = ids.with_columns(weight.alias("weight")).lazy()
    listed = listed if is_directed else both_directions(listed)
    summed = listed.group_by("source", "target").agg(pl.col("weight").sum()).filter(pl.col("weight") > 0)
    found = summed.sort("source", "target").collect()
    return whole_graph(len(nodes), *(found[name].to_numpy() for name in ("source", "target", "weight")))


def _require_columns(edges: pl.DataFrame) -> None:
    for column in ("source", "target"):
        if column not in edges.columns:
            raise ValueError(f"a list of edges needs the column {column!r}; it has {', '.join(edges.columns)}")


def _ids(edges: pl.DataFrame, end: str, nodes: Sequence[str]) -> pl.Series:
    names = edges[end].cast(pl.String)
    ids = names.cast(pl.Enum(nodes), strict=False).to_physical().cast(pl.Int64)
    if ids.null_count():
        row = int(ids.is_null().arg_true()[0])
        raise ValueError(f"edge {row} names the {end} {names[row]!r}, which is not among the {len(nodes)} nodes")
    return ids.alias(end)


def _require_weights(edges: pl.DataFrame, weight: pl.Series) -> None:
    wrong = ~((weight >= 0) & weight.is_finite()).fill_null(False)
    if wrong.any():
        row = int(wrong.arg_true()[0])
        source, target = edges["source"][row], edges["target"][row]
        raise ValueError(
            f"edge {row} from {source!r} to {target!r} has the weight {weight[row]}; weights are finite numbers of 0 "
            "and more"
        )
