"""Three tasks about nodes and three about graphs, on random graphs.

Corso et al., Principal Neighbourhood Aggregation for Graph Nets, NeurIPS 2020, arXiv:2004.05718, section 4. Sizes and
counts as in its published generator, whose validation and test hold the five smallest sizes alone. Differs from it:
`connected` is true of every connected graph; its own test, powers of the adjacency, calls bipartite ones unconnected.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.random_graphs import draw_graph

NODE_TASKS = ("sssp", "eccentricity", "laplacian")
GRAPH_TASKS = ("connected", "diameter", "spectral_radius")
TASKS = NODE_TASKS + GRAPH_TASKS
TRAIN_SIZES, TEST_SIZES = range(15, 25), range(15, 20)
FAR_SIZES = tuple(range(first, first + 5) for first in (20, 25, 30, 35, 40, 45, 60, 75, 95))
FEWEST_NODES = 4


@dataclass(frozen=True)
class SizedGraphs:
    """Graphs of one size. Features are a number uniform on [0, 1] and the mark of the source of the shortest paths."""

    adjacency: Tensor  # [G, N, N], booleans
    x: Tensor  # [G, N, 2]
    node_targets: Tensor  # [G, N, 3], NODE_TASKS
    graph_targets: Tensor  # [G, 3], GRAPH_TASKS

    def __len__(self) -> int:
        return len(self.x)

    @property
    def nodes(self) -> int:
        return self.x.shape[1]

    @property
    def edge_index(self) -> Tensor:
        """Of all graphs side by side, [2, E], source to target, by target."""
        graph, target, source = self.adjacency.nonzero(as_tuple=True)
        return torch.stack([source, target]) + graph * self.nodes

    @property
    def ptr(self) -> Tensor:
        return torch.arange(len(self) + 1) * self.nodes

    def take(self, chosen: Tensor) -> "SizedGraphs":
        return SizedGraphs(
            self.adjacency[chosen], self.x[chosen], self.node_targets[chosen], self.graph_targets[chosen]
        )

    def scaled(self, largest: Tensor) -> "SizedGraphs":
        """The targets as shares of `largest` [6], TASKS."""
        nodes, graphs = largest.split([len(NODE_TASKS), len(GRAPH_TASKS)])
        return SizedGraphs(self.adjacency, self.x, self.node_targets / nodes, self.graph_targets / graphs)


@dataclass(frozen=True)
class MultitaskGraphs:
    """All targets are shares of the largest of that task in training."""

    train: list[SizedGraphs]  # one a size
    validation: list[SizedGraphs]
    test: dict[str, list[SizedGraphs]]  # by the sizes: "15-19" is the training's own range, the others are larger

    def train_mean(self) -> Tensor:
        """Of each task, [6]."""
        nodes = torch.cat([graphs.node_targets.flatten(0, 1) for graphs in self.train]).mean(0)
        return torch.cat([nodes, torch.cat([graphs.graph_targets for graphs in self.train]).mean(0)])


def draw_multitask(
    *, train: int = 512, validation: int = 128, test: int = 256, far: int = 0, seed: int = 1234
) -> MultitaskGraphs:
    """So many graphs a size; `far` of each of nine ranges of larger sizes, of which the protocol has 256.

    Raises ValueError where there is none to train, validate or test on.
    """
    counts = {"train": train, "validation": validation, "test": test}
    if min(counts.values()) < 1 or far < 0:
        raise ValueError(f"{counts}, far {far}: graphs a size; each is at least 1, far at least 0")

    def draw(part: int, count: int, sizes: range) -> list[SizedGraphs]:
        return [draw_sized(count, nodes, np.random.default_rng([seed, part, nodes])) for nodes in sizes]

    learnt = draw(0, train, TRAIN_SIZES)
    judged = {TEST_SIZES: draw(2, test, TEST_SIZES)} | {sizes: draw(3, far, sizes) for sizes in FAR_SIZES if far}
    largest = _largest(learnt)

    def shares(parts: list[SizedGraphs]) -> list[SizedGraphs]:
        return [graphs.scaled(largest) for graphs in parts]

    named = {f"{sizes[0]}-{sizes[-1]}": shares(parts) for sizes, parts in judged.items()}
    return MultitaskGraphs(shares(learnt), shares(draw(1, validation, TEST_SIZES)), named)


def draw_sized(count: int, nodes: int, rng: np.random.Generator) -> SizedGraphs:
    """`count` graphs with their unscaled targets. Raises ValueError for graphs too small to draw every kind."""
    if nodes < FEWEST_NODES:
        raise ValueError(f"graphs of {nodes} nodes; the mixture needs {FEWEST_NODES} or more")
    adjacency = np.stack([draw_graph(nodes, rng) for _ in range(count)])  # [G, N, N]
    values = rng.random((count, nodes))
    source = rng.integers(nodes, size=count)
    node_targets, graph_targets = targets(adjacency, values, source)
    marks = np.arange(nodes) == source[:, None]
    return SizedGraphs(
        torch.from_numpy(adjacency),
        torch.from_numpy(np.stack([values, marks], axis=-1)).float(),
        torch.from_numpy(node_targets).float(),
        torch.from_numpy(graph_targets).float(),
    )


def targets(adjacency: np.ndarray, values: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """NODE_TASKS [G, N, 3] and GRAPH_TASKS [G, 3] of `adjacency` [G, N, N], `values` [G, N] and `source` [G].

    As in the published generator a node out of reach has distance 0 from the source, and eccentricity and diameter
    are the longest of the paths that there are.
    """
    apart = distances(adjacency)  # [G, N, N]
    sssp = np.maximum(apart[np.arange(len(source)), source], 0)
    eccentricity = apart.max(-1)
    laplacian = adjacency.sum(-1) * values - (adjacency @ values[..., None])[..., 0]
    radius = np.abs(np.linalg.eigvalsh(adjacency.astype(float))).max(-1)
    about_nodes = np.stack([sssp, eccentricity, laplacian], axis=-1)
    return about_nodes, np.stack([(apart >= 0).all((1, 2)), eccentricity.max(-1), radius], axis=-1)


def distances(adjacency: np.ndarray) -> np.ndarray:
    """The steps from node to node of each graph, [G, N, N], -1 where there is no path."""
    steps = np.eye(adjacency.shape[-1], dtype=int) - 1 + np.zeros(adjacency.shape, dtype=int)
    hop, front = adjacency.astype(np.float32), (steps == 0).astype(np.float32)
    for step in range(1, adjacency.shape[-1]):
        new = (front @ hop > 0) & (steps < 0)
        if not new.any():
            break
        steps[new] = step
        front = new.astype(np.float32)
    return steps


def _largest(parts: list[SizedGraphs]) -> Tensor:
    """Of each task, [6]."""
    nodes = torch.stack([graphs.node_targets.amax((0, 1)) for graphs in parts]).amax(0)
    return torch.cat([nodes, torch.stack([graphs.graph_targets.amax(0) for graphs in parts]).amax(0)])
