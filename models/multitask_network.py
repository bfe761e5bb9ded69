"""A message-passing network as deep as half its graph, which answers for every node and for the whole graph.

The architecture of Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, arXiv:2004.05718,
section 4, with the aggregation left to the caller. Differs from it: the first messages are as wide as all others, so
that a learned aggregation has its width from the start; there is one tower; the heads end in a linear layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn.aggr import Set2Set


class MessageLayer(nn.Module):
    """Messages from source and target, the target's `aggregation` of them, and an update: [V, F] to [V, C].

    Equation 8 of the paper, with linear message and update functions and its mixing layer.
    """

    def __init__(self, channels: int, width: int, aggregation: nn.Module) -> None:
        super().__init__()
        self.from_target = nn.Linear(channels, width)
        self.from_source = nn.Linear(channels, width, bias=False)
        self.aggregation = aggregation
        self.update = nn.Sequential(nn.Linear(channels + width, width), nn.Linear(width, width), nn.LeakyReLU())

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index
        messages = self.from_target(x)[target] + self.from_source(x)[source]  # [E, C]
        gathered = self.aggregation(messages, index=target, dim_size=len(x))  # [V, C]
        return self.update(torch.cat([x, gathered], dim=-1))


class MultitaskNetwork(nn.Module):
    """One layer with the aggregation `first`, then one with `shared` until there were N/2, each followed by one GRU.

    A graph of a batch stops at its own half, so what it gets does not depend on the others.
    """

    def __init__(
        self,
        first: nn.Module,
        shared: nn.Module,
        *,
        channels: int,
        width: int,
        node_tasks: int,
        graph_tasks: int,
        reads: int = 3,
    ) -> None:
        super().__init__()
        self.width = width
        self.first, self.shared = MessageLayer(channels, width, first), MessageLayer(width, width, shared)
        self.gru = nn.GRUCell(width, width)
        self.node_head = head(width, width, node_tasks)
        self.pooling = Set2Set(width, processing_steps=reads)
        self.graph_head = head(2 * width, width, graph_tasks)

    def forward(self, x: Tensor, edge_index: Tensor, ptr: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes `x` [V, F] of graphs `ptr` [G + 1], edges sorted by target, to node [V, K] and graph tasks [G, L]."""
        graph = torch.arange(len(ptr) - 1, device=x.device).repeat_interleave(ptr.diff())  # [V]
        depth = (ptr.diff() // 2)[graph]  # [V]
        padded = functional.pad(x, (0, self.width - x.shape[-1]))
        h = self.gru(self.first(x, edge_index), padded)  # [V, C]
        for layer in range(1, int(depth.max())):
            next_h = self.gru(self.shared(h, edge_index), h)
            h = torch.where((depth > layer)[:, None], next_h, h)
        return self.node_head(h), self.graph_head(self.pooling(h, index=graph, dim_size=len(ptr) - 1))


def head(channels: int, width: int, tasks: int) -> nn.Sequential:
    """Three layers."""
    first, second = nn.Linear(channels, width), nn.Linear(width, width)
    return nn.Sequential(first, nn.LeakyReLU(), second, nn.LeakyReLU(), nn.Linear(width, tasks))
