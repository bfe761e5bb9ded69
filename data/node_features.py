"""Given node features on a common scale, which the training range fixes."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.snapshots import Snapshot, Snapshots

SAME = 1e-6  # a spread of less than this share of the mean is rounding of single precision


@dataclass(frozen=True)
class FeatureScale:
    """`factor` is 1 over the standard deviation; 0 for a feature that the training range shows no two values of, so
    that what was never learnt says nothing later."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    factor: tuple[float, ...]

    def scaled(self, snapshot: Snapshot) -> Tensor:
        """[n, F], the mean where a value is not known. Raises ValueError for a snapshot without these features."""
        if snapshot.x is None or snapshot.x.shape[1] != len(self.names):
            raise ValueError(f"the snapshot lacks the features {', '.join(self.names)}")
        x = (snapshot.x - torch.tensor(self.mean)) * torch.tensor(self.factor)
        return x.nan_to_num(nan=0.0)


def fit_scale(snapshots: Snapshots, *, train_end: int) -> FeatureScale | None:
    """The scale of the steps `[0, train_end)`; None where the snapshots have no features."""
    if not snapshots.features:
        return None
    count, total, square = (np.zeros(len(snapshots.features)) for _ in range(3))
    for x in _known(snapshots, train_end):
        count, total = count + np.isfinite(x).sum(0), total + np.nansum(x, 0)
    mean = total / np.maximum(count, 1)
    for x in _known(snapshots, train_end):
        square += np.nansum((x - mean) ** 2, 0)
    spread = np.sqrt(square / np.maximum(count, 1))
    varies = spread > SAME * np.abs(mean)
    factor = np.where(varies, 1 / np.where(varies, spread, 1), 0)
    return FeatureScale(snapshots.features, tuple(mean.tolist()), tuple(factor.tolist()))


def _known(snapshots: Snapshots, train_end: int) -> list[np.ndarray]:
    """[n, F] of each step of the training range, in double precision."""
    return [snapshot.x.double().numpy() for snapshot in snapshots[:train_end] if snapshot.x is not None]
