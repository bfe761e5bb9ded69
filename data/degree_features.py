"""Node features from out-degrees, with a schema that the training range fixes.

Pareja et al., EvolveGCN, arXiv:1902.10191, give each node the one-hot of its out-degree. The code released with it
takes the largest degree from later steps too, and fails on a larger one; here a larger degree counts as the largest.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from data.snapshots import Snapshot, Snapshots


@dataclass(frozen=True)
class DegreeSchema:
    """The largest out-degree of the training range, which fixes the width or the scale of the features."""

    largest: int

    def one_hot(self, snapshot: Snapshot) -> Tensor:
        """[n, largest + 1]: nodes without an edge that leaves are in class 0."""
        degree = out_degree(snapshot).clamp(max=self.largest)
        return functional.one_hot(degree, self.largest + 1).float()

    def log_degree(self, snapshot: Snapshot) -> Tensor:
        """[n, 1]: log(1 + degree), 1 at the largest of the training range; not clipped."""
        scale = torch.tensor(max(self.largest, 1)).log1p()
        return (out_degree(snapshot).float().log1p() / scale).unsqueeze(-1)


def fit_degrees(snapshots: Snapshots, *, train_end: int) -> DegreeSchema:
    """The schema of the steps `[0, train_end)`. Raises ValueError where these are not steps of the snapshots."""
    if not 1 <= train_end <= len(snapshots):
        raise ValueError(f"a training range of {train_end} steps is no part of {len(snapshots)} snapshots")
    return DegreeSchema(max(int(out_degree(snapshot).numpy().max(initial=0)) for snapshot in snapshots[:train_end]))


def out_degree(snapshot: Snapshot) -> Tensor:
    """[n], the edges that leave each node; their weights don't matter, and a self-loop counts once."""
    return torch.bincount(snapshot.edge_index[0], minlength=len(snapshot.nodes))


def with_features(snapshots: Snapshots, features: Callable[[Snapshot], Tensor]) -> Snapshots:
    """The same snapshots with `features` of each as its `x` [n, F]."""
    return replace(snapshots, steps=tuple(replace(snapshot, x=features(snapshot)) for snapshot in snapshots))
