"""The mixture of random graphs on which aggregations are compared.

Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, arXiv:2004.05718, appendix, and its
published generator, whose draws this repeats in distribution: one of ten kinds of graphs, then some edges toggled, and
again while a node is isolated.
"""

import math
from collections.abc import Callable

import networkx as nx
import numpy as np

Draw = Callable[[int, np.random.Generator], nx.Graph]
KEEP = 0.9  # below this a draw keeps an edge


def erdos_renyi(nodes: int, rng: np.random.Generator) -> nx.Graph:
    return nx.fast_gnp_random_graph(nodes, rng.random(), seed=_seed(rng))


def barabasi_albert(nodes: int, rng: np.random.Generator) -> nx.Graph:
    return nx.barabasi_albert_graph(nodes, int(rng.integers(1, nodes)), seed=_seed(rng))


def grid(nodes: int, rng: np.random.Generator) -> nx.Graph:  # noqa: ARG001 one signature for all kinds
    sides = _near_square(nodes)
    return nx.grid_2d_graph(*sides)


def caveman(nodes: int, rng: np.random.Generator) -> nx.Graph:  # noqa: ARG001
    return nx.caveman_graph(*_near_square(nodes))


def power_law_tree(nodes: int, rng: np.random.Generator) -> nx.Graph:
    return nx.random_powerlaw_tree(nodes, seed=_seed(rng), tries=10_000)


def ladder(nodes: int, rng: np.random.Generator) -> nx.Graph:  # noqa: ARG001
    """An odd node hangs on the first."""
    graph = nx.ladder_graph(nodes // 2)
    if nodes % 2:
        graph.add_edge(0, nodes - 1)
    return graph


def line(nodes: int, rng: np.random.Generator) -> nx.Graph:  # noqa: ARG001
    return nx.path_graph(nodes)


def star(nodes: int, rng: np.random.Generator) -> nx.Graph:  # noqa: ARG001
    return nx.star_graph(nodes - 1)


def caterpillar(nodes: int, rng: np.random.Generator) -> nx.Graph:
    """A spine, and the others hung on it."""
    spine = int(rng.integers(1, nodes))
    graph = nx.path_graph(spine)
    graph.add_edges_from((node, int(rng.integers(spine))) for node in range(spine, nodes))
    return graph


def lobster(nodes: int, rng: np.random.Generator) -> nx.Graph:
    """A caterpillar, and the others hung on its legs."""
    spine = int(rng.integers(1, nodes))
    legs_end = int(rng.integers(spine + 1, nodes + 1))
    graph = nx.path_graph(spine)
    graph.add_edges_from((node, int(rng.integers(spine))) for node in range(spine, legs_end))
    graph.add_edges_from((node, int(rng.integers(spine, legs_end))) for node in range(legs_end, nodes))
    return graph


MIXTURE: dict[Draw, float] = {
    erdos_renyi: 0.2,
    barabasi_albert: 0.2,
    grid: 0.05,
    caveman: 0.05,
    power_law_tree: 0.15,
    ladder: 0.05,
    line: 0.05,
    star: 0.05,
    caterpillar: 0.1,
    lobster: 0.1,
}


def draw_graph(nodes: int, rng: np.random.Generator) -> np.ndarray:
    """The adjacency of an undirected graph [N, N], booleans, without loops and without an isolated node."""
    kinds = list(MIXTURE)
    kind = kinds[rng.choice(len(kinds), p=list(MIXTURE.values()))]
    while True:
        adjacency = nx.to_numpy_array(kind(nodes, rng)) > 0
        order = rng.permutation(nodes)  # a node's number says nothing of its place
        toggled = toggle(adjacency[order][:, order], rng)
        if toggled.any(0).all():
            return toggled


def toggle(adjacency: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Some edges go and about as many others come.

    The published generator compares its chances with the mean of two uniform numbers, not with one, so a chance of 0.9
    keeps 98 % of the edges, and half a chance p < 1/2 is 2 p^2. That is kept, for its data are what papers report on.
    """
    nodes = len(adjacency)
    edges = adjacency.sum() / 2
    missing = nodes * (nodes - 1) / 2 - edges
    if edges <= missing:
        keep, appear = KEEP, (1 - KEEP) * edges / missing
    else:
        keep, appear = KEEP + (1 - KEEP) * (edges - missing) / edges, 1 - KEEP
    draw = rng.uniform(0, 0.5, (nodes, nodes))
    draw = draw + draw.T
    toggled = np.where(adjacency, draw < keep, draw < appear)
    np.fill_diagonal(toggled, False)
    return toggled


def _near_square(nodes: int) -> tuple[int, int]:
    side = max(side for side in range(1, math.isqrt(nodes) + 1) if nodes % side == 0)
    return side, nodes // side


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
