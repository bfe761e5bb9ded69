"""Make noisy counts of nodes and of their sums agree again, by least squares.

Where a node and the nodes that it is the sum of are all noised, their counts no longer add up. The projection on the
counts that do is y -> S (S'S)^-1 S'y, with a row of S for each node that says of which leaves it is the sum (Hay et
al., Boosting the Accuracy of Differentially Private Histograms Through Consistency, arXiv:0904.0942, for trees). It
reads the noisy counts alone, so it costs no privacy; it keeps their sign, so no bias enters as by clipping at zero.
"""

from collections.abc import Mapping, Sequence

import numpy as np


def hierarchy(nodes: Sequence[str], sums: Mapping[str, Sequence[str]]) -> np.ndarray:
    """S [N, L]: how often each of L leaves, the nodes that are no sum, counts in each of the nodes.

    `sums` names of some nodes the nodes that they are the sum of, which may be sums themselves. Raises ValueError for a
    name that is no node, for a sum of itself, and for one that counts a leaf twice.
    """
    for name in [*sums, *(part for parts in sums.values() for part in parts)]:
        if name not in nodes:
            raise ValueError(f"{name!r} is not among the nodes: {', '.join(nodes)}")
    leaves = {name: i for i, name in enumerate(node for node in nodes if node not in sums)}
    rows = np.zeros((len(nodes), len(leaves)))
    for row, node in zip(rows, nodes, strict=True):
        for leaf in _leaves(node, sums, ()):
            row[leaves[leaf]] += 1
        if row.max(initial=0) > 1:
            raise ValueError(f"node {node!r} counts a node twice among those it is the sum of")
    return rows


def depth(structure: np.ndarray) -> int:
    """In how many nodes somebody counts who is in one leaf: the largest column sum of S."""
    return int(structure.sum(axis=0).max())


def make_consistent(counts: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """The nearest counts [..., N] that add up as `structure` [N, L] says; all must have noise of the same variance."""
    fitted, *_ = np.linalg.lstsq(structure, counts.reshape(-1, len(structure)).T, rcond=None)  # [L, ...]
    return np.asarray((structure @ fitted).T.reshape(counts.shape))


def _leaves(node: str, sums: Mapping[str, Sequence[str]], above: tuple[str, ...]) -> list[str]:
    if node in above:
        raise ValueError(f"node {node!r} is a sum of itself: {' of '.join([*above, node])}")
    parts = sums.get(node)
    return [node] if parts is None else [leaf for part in parts for leaf in _leaves(part, sums, (*above, node))]
