"""A snapshot as a model sees it: the nodes of one step, their features and their adjacency."""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass

import torch
from torch import Tensor

from models.adjacency import Adjacency, block_diagonal


@dataclass(frozen=True, eq=False)
class Graph:
    """One step of a dynamic graph; the next may have other nodes.

    `x` [N, D]; or [B, N, D] for B sequences side by side, whose adjacency is the block diagonal of their B graphs, or B
    dense matrices, or the one graph that they share. `active` [N] or [B, N] is False for nodes that are not there at
    this step (None: all are). Raises ValueError for features that are not finite and shapes that do not fit, unless
    `check` is False, as it must be inside `torch.func.vmap`, where values can't be looked at.
    """

    x: Tensor
    adjacency: Adjacency
    active: Tensor | None = None
    check: InitVar[bool] = True

    def __post_init__(self, check: bool) -> None:
        if check:
            _check_shapes(self)
            _check_finite(self.x)


def _check_shapes(graph: Graph) -> None:
    x, adjacency = graph.x, graph.adjacency
    if x.dim() not in (2, 3):
        raise ValueError(f"x is {tuple(x.shape)}; it should be [nodes, features], or [batch, nodes, features]")
    if adjacency.nodes not in (x.shape[-2], x.shape[:-1].numel()):
        raise ValueError(f"x has {x.shape[-2]} nodes but the adjacency has {adjacency.nodes}")
    if adjacency.dtype != x.dtype:
        raise ValueError(f"x is {x.dtype} but the adjacency is {adjacency.dtype}; make it of edge weights in {x.dtype}")
    if graph.active is not None and graph.active.shape != x.shape[:-1]:
        raise ValueError(f"active is {tuple(graph.active.shape)} but x has nodes {tuple(x.shape[:-1])}")


def _check_finite(x: Tensor) -> None:
    if not x.detach().sum().isfinite() and not x.isfinite().all():  # the sum is quick, and finite if all are
        where = (~x.isfinite()).nonzero()[0].tolist()
        raise ValueError(
            f"feature {where[-1]} of node {where[-2]} is {x[tuple(where)].item()}; fill it, or leave out the node"
        )


def stack_graphs(graphs: Sequence[Graph]) -> Graph:
    """The same step of several independent sequences as one graph; the smaller get inactive nodes to fill up."""
    nodes = max(graph.x.shape[0] for graph in graphs)
    x = torch.stack([_padded(graph.x, nodes) for graph in graphs])  # [B, N, D]
    active = torch.stack([_padded(_present(graph), nodes) for graph in graphs])
    return Graph(x, block_diagonal([graph.adjacency for graph in graphs], nodes), active)


def _present(graph: Graph) -> Tensor:
    return graph.x.new_ones(len(graph.x), dtype=torch.bool) if graph.active is None else graph.active


def _padded(rows: Tensor, nodes: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(nodes - len(rows), *rows.shape[1:])])
