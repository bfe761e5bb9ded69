"""What EvolveGCN is compared with: a static GCN, and one with a GRU along time for each node.

Pareja et al., EvolveGCN: Evolving Graph Convolutional Networks for Dynamic Graphs, AAAI 2020, arXiv:1902.10191, section
4.2. Both are called as `models.evolvegcn.EvolveGCN` is: snapshots in, embeddings of the last one and a state out.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from models.evolvegcn import SLOPE, convolve
from models.graph import Graph
from models.state_policy import Policy, state_to_begin_with


class GraphConvolutions(nn.Module):
    """Graph convolutions with ordinary weights on one snapshot: `x` [..., N, D] to [..., N, C]."""

    def __init__(self, widths: Sequence[int], *, directed: bool, activation: nn.Module | None) -> None:
        super().__init__()
        count = 2 if directed else 1
        self.weights = nn.ParameterList(  # [operators, R, C]; the law is that of the released comparators
            torch.empty(count, rows, columns).uniform_(-2 * rows**-0.5, 2 * rows**-0.5)
            for rows, columns in pairwise(widths)
        )
        self.activation = nn.LeakyReLU(SLOPE) if activation is None else activation

    def forward(self, graph: Graph) -> Tensor:
        h = graph.x
        for weights in self.weights:
            pairs = zip(graph.adjacency.operators, weights, strict=True)
            h = self.activation(sum(convolve(operator, h, weight) for operator, weight in pairs))
        return h


class StaticGCN(nn.Module):
    """The last snapshot alone; there is no state. With `skip` its raw features stand beside the embeddings."""

    def __init__(
        self,
        widths: Sequence[int],
        *,
        directed: bool = False,
        skip: bool = False,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.convolutions = GraphConvolutions(widths, directed=directed, activation=activation)
        self.skip = skip
        self.width = widths[-1] + (widths[0] if skip else 0)

    def forward(
        self, graphs: Sequence[Graph], state: tuple[()] | None = None, *, policy: Policy = "reset"
    ) -> tuple[Tensor, tuple[()]]:
        """Embeddings of the last snapshot [..., N, width], and an empty state."""
        state_to_begin_with(policy, state, ())
        with torch.set_grad_enabled(torch.is_grad_enabled() and policy != "stream"):
            h = self.convolutions(graphs[-1])
            return torch.cat([h, graphs[-1].x], dim=-1) if self.skip else h, ()


class GCNGRU(nn.Module):
    """One static GCN on every snapshot, then a GRU along time for each node, whose ids must be global."""

    def __init__(self, widths: Sequence[int], *, directed: bool = False, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.convolutions = GraphConvolutions(widths, directed=directed, activation=activation)
        self.recurrence = nn.GRU(widths[-1], widths[-1], batch_first=True)
        self.width = widths[-1]

    def forward(
        self, graphs: Sequence[Graph], state: Tensor | None = None, *, policy: Policy = "reset"
    ) -> tuple[Tensor, Tensor]:
        """Embeddings after the last snapshot [..., N, width], and the nodes' states [..., N, width], here the same.

        Raises ValueError if the snapshots, or the state, have other nodes than the first snapshot.
        """
        nodes = graphs[0].x.shape[:-1]
        _check_nodes(graphs, state)
        initial = graphs[0].x.new_zeros(*nodes, self.width)
        begun = state_to_begin_with(policy, state, initial).detach()
        with torch.set_grad_enabled(torch.is_grad_enabled() and policy != "stream"):
            series = torch.stack([self.convolutions(graph) for graph in graphs], dim=-2)  # [..., N, T, C]
            _, last = self.recurrence(series.flatten(0, -3), begun.reshape(1, -1, self.width).contiguous())
            ended = last[0].unflatten(0, nodes)
        return ended, ended


def _check_nodes(graphs: Sequence[Graph], state: Tensor | None) -> None:
    found = {graph.x.shape[:-1] for graph in graphs} | ({state.shape[:-1]} if state is not None else set())
    if len(found) > 1:
        raise ValueError(
            f"snapshots and state have {sorted(map(tuple, found))} nodes; a GRU along time needs the same ones "
            "at every step: use global ids, with `active` for those that are there"
        )
