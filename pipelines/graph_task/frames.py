"""Snapshots as the models read them.

A frame is the graph of one step with features, and the row of every node of the whole sequence in it. Nodes that are
not there at a step are alike: no edge, no degree, never chosen by a summary. So a local frame has one row for them all,
at its end, which gives every node the embedding that it has in a graph of all N nodes. A GRU along time for each node
needs the same rows at every step, so for it frames are global: all N rows.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from data.snapshots import Snapshot, Snapshots
from models.adjacency import Adjacency, directed_adjacency, symmetric_adjacency
from models.graph import Graph

Features = Callable[[Snapshot], Tensor]  # of the nodes that are there: [n, D]


@dataclass(frozen=True)
class Frame:
    graph: Graph
    place: Tensor  # [N], the row of each node


class Frames:
    """The frames of a sequence, made when they are asked for; the last `keep` of them are kept."""

    def __init__(self, snapshots: Snapshots, features: Features, absent: Tensor, *, is_local: bool, keep: int) -> None:
        """`absent` [D] is what `features` says of a node that is not there."""
        self.snapshots, self.features, self.absent = snapshots, features, absent
        self.is_local, self.keep = is_local, keep
        self.nodes = len(snapshots.names)
        self._adjacency: dict[int, Adjacency] = {}
        self._recent: OrderedDict[int, Frame] = OrderedDict()

    def __len__(self) -> int:
        return len(self.snapshots)

    def window(self, last: int, length: int) -> Sequence[Graph]:
        """The `length` graphs that end with step `last`."""
        return [self[step].graph for step in range(last - length + 1, last + 1)]

    def __getitem__(self, step: int) -> Frame:
        if step not in self._recent:
            self._recent[step] = self._frame(step)
        self._recent.move_to_end(step)
        while len(self._recent) > self.keep:
            self._recent.popitem(last=False)
        return self._recent[step]

    def _frame(self, step: int) -> Frame:
        snapshot = self.snapshots[step]
        here = len(snapshot.nodes)
        if not self.is_local:
            x = self.absent.repeat(self.nodes, 1).index_copy_(0, snapshot.nodes, self.features(snapshot))
            active = torch.zeros(self.nodes, dtype=torch.bool).index_fill_(0, snapshot.nodes, True)
            edges, place = snapshot.nodes[snapshot.edge_index], torch.arange(self.nodes)
            return Frame(Graph(x, self._normalised(step, edges, self.nodes), active), place)
        x = torch.cat([self.features(snapshot), self.absent[None]])
        active = torch.arange(here + 1) < here
        place = torch.full((self.nodes,), here).index_copy_(0, snapshot.nodes, torch.arange(here))
        return Frame(Graph(x, self._normalised(step, snapshot.edge_index, here + 1), active), place)

    def _normalised(self, step: int, edge_index: Tensor, nodes: int) -> Adjacency:
        if step not in self._adjacency:
            make = directed_adjacency if self.snapshots.is_directed else symmetric_adjacency
            self._adjacency[step] = make(edge_index, self.snapshots[step].edge_weight, nodes=nodes)
        return self._adjacency[step]
