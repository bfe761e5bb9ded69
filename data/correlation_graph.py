"""A static graph from how alike the series are, seen on the training range alone."""

import numpy as np

from data.panel import Panel
from data.snapshots import Snapshot, whole_graph


def correlation_graph(panel: Panel, variable: str, *, train_end: int, threshold: float = 0.5) -> Snapshot:
    """Nodes joined where their correlation over the steps `[0, train_end)` is `threshold` or more: its weight.

    The correlation is Pearson's over the steps at which both nodes are observed. Pairs with fewer than three of those,
    or with a constant, are not joined; nor are opposite ones, as weights can't be negative. No self-loops; both
    directions of an edge are there.
    Raises ValueError for an unknown variable, a range that is no part of the panel, or a threshold not in (0, 1].
    """
    if variable not in panel.variables:
        raise ValueError(f"no variable {variable!r}; the panel has {', '.join(panel.variables)}")
    if not 3 <= train_end <= len(panel.index):
        raise ValueError(f"a training range of {train_end} steps has no correlation in a panel of {len(panel.index)}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold {threshold:g} must be above 0 and at most 1")
    f = panel.variables.index(variable)
    correlation = pairwise_correlation(panel.values[:train_end, :, f], panel.mask[:train_end, :, f])
    np.fill_diagonal(correlation, np.nan)
    source, target = np.nonzero(correlation >= threshold)
    return whole_graph(len(panel.nodes), source, target, correlation[source, target])


def pairwise_correlation(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pearson's of every pair of columns of `values` [T, N] where `mask` has both: [N, N], NaN where there is none."""
    seen = mask.astype(np.float64)
    count = seen.T @ seen  # [N, N], steps that a pair shares
    observed = np.where(mask, values, 0.0)
    centre = observed.sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    spread = np.where(mask, values - centre, 0.0)  # near 0, so that the sums of squares below keep their digits
    with np.errstate(divide="ignore", invalid="ignore"):
        total = spread.T @ seen  # [N, N]: of the row's node over the steps of the pair
        shared = spread.T @ spread - total * total.T / count
        own = (spread**2).T @ seen - total**2 / count
        own[own <= 1e-12 * (spread**2).sum(axis=0)[:, None]] = np.nan  # constant but for rounding
        correlation = shared / np.sqrt(own * own.T)
    correlation[count < 3] = np.nan
    return correlation.clip(-1, 1)
