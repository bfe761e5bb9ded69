"""Who hears from whom: the edges of one graph, or of many side by side, sorted by the node that they lead to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from models.tree_plan import TreePlan, make_plan

KEPT = 8  # numbers of copies: those of training, of its last batch, of validation, of serving


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """E edges among S nodes; those that lead to node s are `ptr[s]` to `ptr[s + 1] - 1`, in the order of their sources.

    A weight is told relative to the mean of those that lead to the same node, so that it has no unit.
    """

    source: Tensor  # [E]
    target: Tensor  # [E], never falls
    weight: Tensor  # [E]
    ptr: Tensor  # [S + 1]

    @property
    def degree(self) -> Tensor:
        return self.ptr.diff()

    @cached_property
    def plan(self) -> TreePlan:
        """For aggregations that fold a neighbourhood over a tree."""
        return make_plan(self.ptr, len(self.source))

    def tiled(self, copies: int) -> "Neighbourhoods":
        """`copies` of the same graph side by side."""
        copy = torch.arange(copies, device=self.ptr.device)[:, None]
        node, edge = copy * (len(self.ptr) - 1), copy * len(self.source)
        ends = (self.ptr[1:] + edge).flatten()
        return Neighbourhoods(
            (self.source + node).flatten(),
            (self.target + node).flatten(),
            self.weight.repeat(copies),
            torch.cat([ends.new_zeros(1), ends]),
        )


def neighbourhoods(weights: Tensor) -> Neighbourhoods:
    """Of G graphs `weights` [G, N, N], side by side: the positive entries; row u, column v is from u to v."""
    graphs, nodes, _ = weights.shape
    graph, target, source = (weights.mT > 0).nonzero(as_tuple=True)  # sorted by all three
    weight, first = weights[graph, source, target], graph * nodes
    row = first + target
    degree = row.bincount(minlength=graphs * nodes)
    total = weight.new_zeros(graphs * nodes).index_add(0, row, weight)
    return Neighbourhoods(
        first + source, row, weight * degree[row] / total[row], torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    )


class Tiles:
    """Copies of one graph side by side, worked out once for each number of them while the graph stays the same."""

    def __init__(self) -> None:
        self._graph: Tensor | None = None
        self._made: dict[int, Neighbourhoods] = {}

    def of(self, weights: Tensor, copies: int) -> Neighbourhoods:
        """`weights` [N, N], source to target."""
        known = self._graph
        if known is None or known.device != weights.device or not torch.equal(known, weights):
            self._graph, self._made = weights.detach().clone(), {}
        if copies not in self._made:
            while len(self._made) >= KEPT:
                del self._made[next(iter(self._made))]
            self._made[copies] = neighbourhoods(weights[None]).tiled(copies)
        return self._made[copies]


def side_by_side(matrices: Sequence[Tensor], copies: int, tiles: Tiles) -> Neighbourhoods:
    """Of the S steps of B windows, step by step within a window: `matrices` are S of [B, N, N], or S times one [N, N].

    Where it is one, it is `copies` times that, which is S * B.
    """
    first = matrices[0]
    if first.dim() == 2 and all(matrix is first for matrix in matrices):
        return tiles.of(first, copies)
    return neighbourhoods(torch.stack(list(matrices), dim=-3).flatten(0, -3))  # [B * S, N, N]
