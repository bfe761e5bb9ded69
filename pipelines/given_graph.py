"""The graph that a spec gives as a list of edges."""

from collections.abc import Sequence

import polars as pl
import torch
from torch import Tensor

from data import bundled
from data.given_graph import edge_list_graph
from data.snapshots import Snapshot
from data.sources import find_files, readable, scan_all
from pipelines.errors import SpecError
from pipelines.spec import GraphModel, Spec


def given_graph(spec: Spec, nodes: Sequence[str], chosen: Sequence[str]) -> Tensor | None:
    """Its weights [N, N] among the `chosen` of the data set's `nodes`; None for models without one.

    Raises SpecError for an edge of an unknown node or with no usable weight.
    """
    if not isinstance(spec.model, GraphModel) or spec.model.edges is None:
        return None
    files = find_files([bundled.resolve(spec.model.edges, spec.folder)])
    with readable(files):
        edges = scan_all(files, ["source", "target"]).collect()
    try:
        whole = dense(edge_list_graph(edges, nodes, is_directed=True))
    except (ValueError, pl.exceptions.PolarsError) as error:
        raise SpecError(f"model.edges: {spec.model.edges}: {error}") from None
    place = {name: i for i, name in enumerate(nodes)}
    rows = torch.tensor([place[name] for name in chosen])
    return whole[rows][:, rows].contiguous()


def dense(graph: Snapshot) -> Tensor:
    """The weights of a graph of all nodes as a matrix [N, N]."""
    matrix = torch.zeros(len(graph.nodes), len(graph.nodes))
    matrix[tuple(graph.edge_index)] = graph.edge_weight
    return matrix
