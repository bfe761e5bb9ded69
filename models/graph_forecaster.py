"""Forecasts of every node from its own past and from that of the nodes it is linked to.

Pareja et al., EvolveGCN, AAAI 2020, arXiv:1902.10191, stops at classification; this is the same encoder put to
forecasting: one snapshot a step over the newest steps of the window, whose node features are the newest values, whether
they were observed, and the calendar. The last step's embedding and the node's own window make the forecast. A linear
map of the window stands beside it, so that the network can go on with a line or a season whatever the graph says.
All weights but those of the calendar's profile are shared by the nodes. Other encoders of snapshots stand in
EvolveGCN's place: a static GCN, and message passing with a recurrence for each node.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.adjacency import Adjacency, dense_adjacency
from models.clock import CYCLIC_WIDTH, cyclic
from models.evolvegcn import EvolveGCN
from models.filling import fill_forward
from models.graph import Graph
from models.graph_comparators import StaticGCN
from models.graph_recurrent import GraphRecurrent
from models.profile import Profile


class GraphForecaster(nn.Module):
    """`encoder` maps snapshots with `hidden` features to embeddings of the last one, [B, N, `encoder.width`]; it is
    given the `snapshots` newest steps.

    With `is_dynamic` the graph of each of these steps is an input, `edges` [B, snapshots, N, N], row u and column v the
    weight from u to v; else it is `graph` [N, N], which is set once and saved with the weights. `directed` graphs are
    read along their edges and against them.
    """

    graph: Tensor | None

    def __init__(
        self,
        encoder: EvolveGCN | StaticGCN | GraphRecurrent,
        *,
        window: int,
        horizon: int,
        nodes: int,
        variables: int,
        hidden: int,
        snapshots: int,
        lags: int,
        is_dynamic: bool,
        directed: bool,
        dropout: float = 0.0,
        predict: Literal["value", "change"] = "value",
        profile: int = 0,
    ) -> None:
        super().__init__()
        self.shape = (horizon, variables)
        self.snapshots, self.lags = min(snapshots, window), min(lags, window)
        self.directed, self.predict = directed, predict
        self.edge_steps = self.snapshots if is_dynamic else 0
        self.register_buffer("graph", None if is_dynamic else torch.zeros(nodes, nodes))
        self.features = nn.Linear(2 * variables * self.lags + CYCLIC_WIDTH, hidden)
        self.encoder = encoder
        own = window * variables
        self.mixed = nn.Linear(encoder.width + own, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, horizon * variables)
        self.line = nn.Linear(own, horizon * variables)
        for layer in (self.output, self.line):  # the start forecasts the training mean, or persistence
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.profile = Profile(profile, nodes, variables) if profile else None

    def set_graph(self, graph: Tensor) -> None:
        if self.graph is None:
            raise ValueError("a forecaster on a dynamic graph is given its edges with every window")
        self.graph.copy_(graph)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor, edges: Tensor | None = None) -> Tensor:
        window = x.shape[1]
        filled = fill_forward(x, mask)  # [B, W, N, F]
        embedded = self._embedded(self._features(filled, mask, calendar[:, :window]), edges)  # [B, N, C]
        own = filled.transpose(1, 2).flatten(2)  # [B, N, W * F]
        mixed = self.mixed(torch.cat([embedded, own], dim=-1)).relu()
        forecast = self.output(self.dropout(mixed)) + self.line(own)
        forecast = forecast.unflatten(-1, self.shape).transpose(1, 2)  # [B, H, N, F]
        if self.profile is not None:
            forecast = forecast + self.profile(calendar[:, window:])
        return forecast + filled[:, -1:] if self.predict == "change" else forecast

    def _features(self, filled: Tensor, mask: Tensor, past: Tensor) -> Tensor:
        """Of every node at each of the steps that are snapshots: [B, S, N, hidden]."""
        seen = torch.cat([filled, mask.to(filled.dtype)], dim=-1)  # [B, W, N, 2 F]
        padded = functional.pad(seen, (0, 0, 0, 0, self.lags - 1, 0))  # before the window nothing was observed
        lagged = padded.unfold(1, self.lags, 1)[:, -self.snapshots :].flatten(3)  # [B, S, N, 2 F * lags]
        clock = cyclic(past[:, -self.snapshots :])[:, :, None].expand(-1, -1, filled.shape[2], -1)
        return self.features(torch.cat([lagged, clock], dim=-1)).relu()

    def _embedded(self, features: Tensor, edges: Tensor | None) -> Tensor:
        """Of every node at the last step, [B, N, C]; in single precision, as the edges are."""
        with torch.autocast(features.device.type, enabled=False):
            steps = features.float().unbind(1)
            pairs = zip(steps, self._adjacencies(edges), strict=True)
            return self.encoder([Graph(x, adjacency, check=False) for x, adjacency in pairs])[0]

    def _adjacencies(self, edges: Tensor | None) -> Sequence[Adjacency]:
        if self.graph is not None:
            return [dense_adjacency(self.graph, directed=self.directed)] * self.snapshots
        if edges is None:
            raise ValueError("this forecaster reads the edges of each step; pass them, [B, snapshots, N, N]")
        return [dense_adjacency(step, directed=self.directed) for step in edges.unbind(1)]
