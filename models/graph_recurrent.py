"""Message passing at every step, whose aggregation the caller chooses, and a GRU along the steps for each node.

Gilmer et al., Neural Message Passing for Quantum Chemistry, arXiv:1704.01212, section 2, with a recurrence as in Seo et
al., Structured Sequence Modeling with Graph Convolutional Recurrent Networks, arXiv:1612.07659, section 4.1. A message
is a perceptron of source, target and edge weight. All steps of all windows are one graph, so that a learned aggregation
runs once a layer and not once a snapshot.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from models.dense_operator import DenseOperator
from models.graph import Graph
from models.neighbourhoods import Neighbourhoods, Tiles, side_by_side


@runtime_checkable
class FitsDegree(Protocol):
    """An aggregation that scales by the degree."""

    def fit(self, degree: Tensor) -> None: ...


class Messages(nn.Module):
    """What the nodes hear, [S, C], from node states [S, C]; `aggregation` is a PyG `Aggregation` of C channels.

    The perceptron's first layer is linear in source, target and weight, so it is worked out for each node, not for each
    edge. An aggregation that takes a `plan` is given that of the graph.
    """

    def __init__(self, width: int, aggregation: nn.Module) -> None:
        super().__init__()
        self.source, self.target = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.weight = nn.Linear(1, width, bias=False)
        self.output = nn.Linear(width, width)
        self.aggregation = aggregation
        self.takes_plan = "plan" in inspect.signature(aggregation.forward).parameters

    def forward(self, h: Tensor, edges: Neighbourhoods) -> Tensor:
        said, heard = self.source(h)[edges.source], self.target(h)[edges.target]  # [E, C] each
        messages = self.output((said + heard + self.weight(edges.weight[:, None])).relu())
        plan = {"plan": edges.plan} if self.takes_plan else {}
        return self.aggregation(messages, edges.target, ptr=edges.ptr, dim_size=len(h), **plan)


class MessageLayer(nn.Module):
    """Node states after they have heard from their neighbours, from `directions` graphs of the same nodes."""

    def __init__(self, width: int, make_aggregation: Callable[[], nn.Module], directions: int) -> None:
        super().__init__()
        self.messages = nn.ModuleList(Messages(width, make_aggregation()) for _ in range(directions))
        self.update = nn.Sequential(nn.Linear((1 + directions) * width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, directions: Sequence[Neighbourhoods]) -> Tensor:
        heard = [messages(h, edges) for messages, edges in zip(self.messages, directions, strict=True)]
        return h + self.update(torch.cat([h, *heard], dim=-1))

    def fit_degree(self, way: int, degree: Tensor) -> None:
        """Tell the aggregation of one of the directions, where it asks for it, the degrees of the training graph."""
        aggregation = cast(Messages, self.messages[way]).aggregation
        if isinstance(aggregation, FitsDegree):
            aggregation.fit(degree)


class GraphRecurrent(nn.Module):
    """`width` features of each node at each of S steps to an embedding after the last one.

    Called as `models.evolvegcn.EvolveGCN` is, on dense adjacencies. Nodes hear along the edges, from source to target;
    `directed`, also against them, through weights of its own.
    """

    def __init__(
        self, width: int, make_aggregation: Callable[[], nn.Module], *, layers: int, directed: bool = False
    ) -> None:
        super().__init__()
        self.width, self.directions = width, 2 if directed else 1
        self.layers = nn.ModuleList(MessageLayer(width, make_aggregation, self.directions) for _ in range(layers))
        self.recurrence = nn.GRU(width, width, batch_first=True)
        self._tiles = [Tiles() for _ in range(self.directions)]

    def fit_degrees(self, graphs: Tensor) -> None:
        """Tell the aggregations that ask for it how many neighbours nodes have in `graphs` [N, N] or [T, N, N]."""
        graphs = graphs.reshape(-1, *graphs.shape[-2:])
        for way, weights in enumerate((graphs, graphs.mT)[: self.directions]):
            degree = (weights > 0).sum(-2)  # [T, N], of edges that lead to a node
            for layer in self.layers:
                cast(MessageLayer, layer).fit_degree(way, degree)

    def forward(self, graphs: Sequence[Graph]) -> tuple[Tensor, tuple[()]]:
        """Embeddings after the last snapshot [..., N, width], and an empty state."""
        x = torch.stack([graph.x for graph in graphs], dim=-3)  # [..., S, N, C]
        steps, nodes, width = x.shape[-3:]
        h = x.reshape(-1, width)  # [B * S * N, C]
        directions = self._directions(graphs, len(h) // nodes)
        for layer in self.layers:
            h = layer(h, directions)
        series = h.reshape(-1, steps, nodes, width).transpose(1, 2)  # [B, N, S, C]
        _, last = self.recurrence(series.flatten(0, 1))  # [1, B * N, C]
        return last[0].reshape(*x.shape[:-3], nodes, width), ()

    def _directions(self, graphs: Sequence[Graph], snapshots: int) -> list[Neighbourhoods]:
        """A dense operator keeps the weights as they were given, those against the edges turned round."""
        ways = zip(*(graph.adjacency.operators for graph in graphs), strict=True)
        return [
            side_by_side([_weights(operator) for operator in way], snapshots, tiles)
            for way, tiles in zip(ways, self._tiles, strict=True)
        ]


def _weights(operator: object) -> Tensor:
    if not isinstance(operator, DenseOperator):
        raise ValueError("messages need the edges' own weights, which a sparse adjacency lacks; pass a dense one")
    return operator.matrix
