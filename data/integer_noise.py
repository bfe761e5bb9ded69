"""Exact integer noise on integer counts, drawn by OpenDP from the operating system's random source.

The samplers work in exact arithmetic (Canonne, Kamath and Steinke, The Discrete Gaussian for Differential Privacy,
arXiv:2004.00010), so that no bit of a result depends on rounding; floating-point noise that is rounded afterwards
is open to attack. The noise can't be seeded: a release that could be drawn again could be undone.
"""

from collections.abc import Callable

import numpy as np

CHUNK = 1_000_000  # counts that pass through Python objects at a time
LARGEST = 2**53  # far from where 64 bits end, and still exact as float64 in a panel

Sampler = Callable[[list[int]], list[int]]


def add_discrete_gaussian(counts: np.ndarray, *, scale: float) -> np.ndarray:
    """`counts` with noise of Pr[z] ~ exp(-z^2 / (2 scale^2)) on every entry, the zeros too; the same shape, int64."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T=float)
    return _on_every_entry(counts, dp.m.make_gaussian(*space, scale=scale))


def add_geometric(counts: np.ndarray, *, scale: float) -> np.ndarray:
    """`counts` with noise of Pr[z] ~ exp(-|z| / scale) on every entry, the zeros too; the same shape, int64."""
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    return _on_every_entry(counts, dp.m.make_laplace(*space, scale=scale))


def _on_every_entry(counts: np.ndarray, noisy: Sampler) -> np.ndarray:
    """Raises ValueError for counts that are no whole numbers, or that leave no room for noise."""
    if not np.issubdtype(counts.dtype, np.integer):
        raise ValueError(f"integer noise is for integer counts, not {counts.dtype}")
    if counts.size and max(-int(counts.min()), int(counts.max())) > LARGEST:
        raise ValueError(f"a count beyond {LARGEST:,} leaves no room for noise")
    flat = counts.astype(np.int64).ravel()
    parts = [np.array(noisy(flat[i : i + CHUNK].tolist()), dtype=np.int64) for i in range(0, len(flat), CHUNK)]
    return np.concatenate([np.empty(0, np.int64), *parts]).reshape(counts.shape)
