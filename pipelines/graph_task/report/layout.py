"""Where the nodes of a small graph go, so that linked ones are close.

Fruchterman and Reingold, Graph drawing by force-directed placement (1991), with a pull to the middle that keeps parts
without a link between them in sight; then the nodes are moved out or in until they fill a disc evenly. It starts from a
circle, so equal graphs give equal pictures.
"""

import numpy as np

ROUNDS = 300
HEAT = 0.15  # the longest move of the first round
TO_THE_MIDDLE = 0.6  # in units of the ideal distance


def spread_out(nodes: int, ends: np.ndarray) -> np.ndarray:
    """Places [N, 2] within -1 and 1 of `nodes` nodes with links `ends` [2, E]."""
    angle = 2 * np.pi * np.arange(nodes) / nodes
    at = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    linked = np.zeros((nodes, nodes), dtype=bool)
    linked[ends[0], ends[1]] = linked[ends[1], ends[0]] = True
    ideal = 1 / np.sqrt(nodes)
    for heat in np.linspace(HEAT, 0, ROUNDS):
        move = _forces(at, linked, ideal) - TO_THE_MIDDLE * ideal * at
        length = np.linalg.norm(move, axis=1, keepdims=True)
        at = at + move / np.maximum(length, 1e-9) * np.minimum(length, heat)
    return _filling(at - at.mean(axis=0))


def _filling(at: np.ndarray) -> np.ndarray:
    """The same directions, the nearest node nearest still, and as many nodes to each area of the disc."""
    radius = np.linalg.norm(at, axis=1)
    rank = np.argsort(np.argsort(radius, kind="stable"), kind="stable")
    return at * (np.sqrt((rank + 1) / len(at)) / np.maximum(radius, 1e-9))[:, None]


def _forces(at: np.ndarray, linked: np.ndarray, ideal: float) -> np.ndarray:
    """[N, 2]: all nodes push each other away, linked ones pull each other close."""
    gap = at[:, None] - at[None]  # [N, N, 2]
    distance = np.maximum(np.linalg.norm(gap, axis=2), 1e-3)
    force = ideal**2 / distance**2 - linked * distance / ideal
    return (gap * force[..., None]).sum(axis=1)
