"""Dynamic graphs: a sequence of snapshots, each with nodes of its own.

A snapshot holds the nodes that are there at its step and no others; edges name them by their position among these.
Nodes may come, go and come back: what they keep is their global id, a position in the names of the whole sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import pandas as pd
import torch
from torch import Tensor

UNLABELLED = -1


@dataclass(frozen=True)
class GlobalSnapshot:
    """A snapshot among all N nodes; edges name global ids, and the nodes that are not there are not `active`."""

    edge_index: Tensor  # [2, E] int64
    edge_weight: Tensor  # [E] float32
    active: Tensor  # [N] bool
    x: Tensor | None  # [N, F], 0 where not active
    edge_label: Tensor | None  # [E]
    node_label: Tensor | None  # [N], UNLABELLED where not active


@dataclass(frozen=True)
class Snapshot:
    """The graph at one step, in local positions.

    Edges run from source to target, are sorted by (source, target) and occur once. Raises ValueError where they do not,
    where an edge names no node of the snapshot, and for a weight that is negative or no number.
    """

    nodes: Tensor  # [n] int64, global ids, ascending
    edge_index: Tensor  # [2, E] int64, positions in `nodes`
    edge_weight: Tensor  # [E] float32
    x: Tensor | None = None  # [n, F]
    edge_label: Tensor | None = None  # [E] int64
    node_label: Tensor | None = None  # [n] int64, UNLABELLED where not known

    def __post_init__(self) -> None:
        self._require_lengths()
        if len(self.nodes) and (self.nodes[0] < 0 or (self.nodes.diff() <= 0).any()):
            raise ValueError("`nodes` must be global ids of 0 and more, ascending, each once")
        self._require_known_ends()
        self._require_order()
        wrong = ~(self.edge_weight >= 0) | self.edge_weight.isinf()
        if wrong.any():
            at = int(wrong.nonzero()[0])
            raise ValueError(
                f"edge {at} has the weight {self.edge_weight[at].item():g}; weights are finite numbers of 0 and more"
            )

    def _require_lengths(self) -> None:
        n, e = len(self.nodes), self.edge_index.shape[-1]
        if self.edge_index.shape != (2, e):
            raise ValueError(f"edge_index has the shape {list(self.edge_index.shape)}; it must be [2, edges]")
        for name, rows, of in (
            ("edge_weight", e, "edges"),
            ("edge_label", e, "edges"),
            ("x", n, "nodes"),
            ("node_label", n, "nodes"),
        ):
            values = getattr(self, name)
            if values is not None and len(values) != rows:
                raise ValueError(f"{name} has {len(values)} rows but the snapshot has {rows} {of}")

    def _require_known_ends(self) -> None:
        if not self.edge_index.numel():
            return
        lowest, highest = (int(end) for end in self.edge_index.aminmax())
        if lowest < 0 or highest >= len(self.nodes):
            named = lowest if lowest < 0 else highest
            raise ValueError(
                f"edge_index names node {named} but the snapshot has {len(self.nodes)} nodes; "
                "edges name positions in `nodes`, not global ids"
            )

    def _require_order(self) -> None:
        source, target = self.edge_index.diff()
        wrong = (source < 0) | ((source == 0) & (target <= 0))
        if wrong.any():
            at = int(wrong.nonzero()[0]) + 1
            raise ValueError(
                f"edge {at} repeats the one before it or comes too late; edges are sorted by (source, target), each "
                "once: add up the weights of repeated ones and sort"
            )

    def to_global(self, node_count: int) -> GlobalSnapshot:
        """The same graph among all `node_count` nodes. Raises ValueError where these are too few."""
        if len(self.nodes) and self.nodes[-1] >= node_count:
            raise ValueError(f"the snapshot has a node with global id {int(self.nodes[-1])} but N is {node_count}")
        active = torch.zeros(node_count, dtype=torch.bool)
        active[self.nodes] = True
        return GlobalSnapshot(
            edge_index=self.nodes[self.edge_index],
            edge_weight=self.edge_weight,
            active=active,
            x=_spread(self.x, self.nodes, node_count, 0),
            edge_label=self.edge_label,
            node_label=_spread(self.node_label, self.nodes, node_count, UNLABELLED),
        )


@dataclass(frozen=True)
class Snapshots(Sequence[Snapshot]):
    """Consecutive snapshots on one clock.

    `names[i]` is the node with global id i. `clock` has the start of each step, with a time zone, or the plain rank of
    each step where the data have no times. `interval` is the length of a step ("1h", "1mo", "1200000s"), or "rank"
    where steps are the distinct times that occur. Undirected graphs hold each edge in both directions. `features` names
    the columns of every `x`, and `classes[k]` is the node label k.
    """

    steps: tuple[Snapshot, ...]
    names: tuple[str, ...]
    clock: pd.Index  # [T]
    interval: str
    is_directed: bool
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.clock) != len(self.steps):
            raise ValueError(f"the clock has {len(self.clock)} steps but there are {len(self.steps)} snapshots")
        for step, snapshot in enumerate(self.steps):
            if len(snapshot.nodes) and snapshot.nodes[-1] >= len(self.names):
                raise ValueError(
                    f"step {step} has a node with global id {int(snapshot.nodes[-1])} but {len(self.names)} are named"
                )

    def __len__(self) -> int:
        return len(self.steps)

    @overload
    def __getitem__(self, step: int) -> Snapshot: ...
    @overload
    def __getitem__(self, step: slice) -> "Snapshots": ...
    def __getitem__(self, step: int | slice) -> "Snapshot | Snapshots":
        if isinstance(step, slice):
            return replace(self, steps=self.steps[step], clock=self.clock[step])
        return self.steps[step]

    def up_to(self, cutoff: int) -> "Snapshots":
        """Everything known at `cutoff`, the last of these steps. Raises IndexError for one that is not there."""
        if not 0 <= cutoff < len(self):
            raise IndexError(f"step {cutoff} is not among the {len(self)} snapshots, numbered from 0")
        return self[: cutoff + 1]

    def window(self, cutoff: int, length: int) -> "Snapshots":
        """The `length` snapshots that end with step `cutoff`. Raises IndexError where there are not that many."""
        known = self.up_to(cutoff)
        if not 1 <= length <= len(known):
            raise IndexError(f"a window of {length} snapshots can't end at step {cutoff}; it has {len(known)} up to it")
        return known[len(known) - length :]

    def node_counts(self) -> Tensor:
        """[T], nodes that are there at each step."""
        return torch.tensor([len(snapshot.nodes) for snapshot in self.steps], dtype=torch.int64)

    def edge_counts(self) -> Tensor:
        """[T], edges of each step; in an undirected graph both directions count, and a self-loop once."""
        return torch.tensor([snapshot.edge_index.shape[1] for snapshot in self.steps], dtype=torch.int64)


def whole_graph(node_count: int, source: np.ndarray, target: np.ndarray, weight: np.ndarray) -> Snapshot:
    """A graph in which every node is there, edges or not; its edges [E] sorted by (source, target)."""
    return Snapshot(
        nodes=torch.arange(node_count),
        edge_index=torch.from_numpy(np.stack([source, target]).astype(np.int64)),
        edge_weight=torch.from_numpy(weight.astype(np.float32)),
    )


def _spread(values: Tensor | None, nodes: Tensor, node_count: int, absent: float) -> Tensor | None:
    """Rows of `values` [n, ...] at their global ids, `absent` elsewhere: [N, ...]."""
    if values is None:
        return None
    return values.new_full((node_count, *values.shape[1:]), absent).index_copy_(0, nodes, values)
