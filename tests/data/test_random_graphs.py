import networkx as nx
import numpy as np
import pytest

from data.random_graphs import MIXTURE, draw_graph, toggle


@pytest.mark.parametrize("kind", MIXTURE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("nodes", [15, 24, 97])
def test_every_kind_has_as_many_nodes_as_asked(kind, nodes):
    graph = kind(nodes, np.random.default_rng(0))
    assert len(graph) == nodes


@pytest.mark.parametrize("name", ["power_law_tree", "line", "star", "caterpillar", "lobster"])
def test_what_is_called_a_tree_is_one(name):
    kind = next(kind for kind in MIXTURE if kind.__name__ == name)
    assert all(nx.is_tree(kind(17, np.random.default_rng(seed))) for seed in range(20))


@pytest.mark.parametrize(("name", "farthest"), [("caterpillar", 1), ("lobster", 2)])
def test_nothing_is_farther_from_the_spine_than_the_name_says(name, farthest):
    """Without its leaves, once or twice, such a tree is a path or nothing."""
    kind = next(kind for kind in MIXTURE if kind.__name__ == name)
    for seed in range(30):
        graph = kind(17, np.random.default_rng(seed))
        for _ in range(farthest):
            graph.remove_nodes_from([node for node, degree in graph.degree if degree <= 1])
        assert max((degree for _, degree in graph.degree), default=0) <= 2


def test_the_mixture_is_a_distribution():
    assert sum(MIXTURE.values()) == pytest.approx(1)


def test_a_drawn_graph_is_undirected_and_has_neither_loops_nor_isolated_nodes():
    rng = np.random.default_rng(0)
    for nodes in (4, 15, 24):
        for _ in range(30):
            adjacency = draw_graph(nodes, rng)
            assert adjacency.shape == (nodes, nodes)
            assert (adjacency == adjacency.T).all()
            assert not adjacency.diagonal().any()
            assert adjacency.any(0).all()


def test_toggling_keeps_98_percent_of_the_edges_as_the_published_generator_does():
    """A path of 400 nodes, 50 times: 19,950 edges, of which 1 - 2 (1 - 0.9)^2 stay; a standard deviation is 0.001."""
    path = nx.to_numpy_array(nx.path_graph(400)) > 0
    rng = np.random.default_rng(0)
    kept = np.mean([(toggle(path, rng) & path).sum() / path.sum() for _ in range(50)])
    assert kept == pytest.approx(0.98, abs=0.004)


def test_toggling_a_full_graph_takes_edges_away_and_an_empty_one_stays_empty():
    full = ~np.eye(60, dtype=bool)
    rng = np.random.default_rng(0)
    assert toggle(full, rng).sum() <= full.sum()
    assert not toggle(np.zeros((60, 60), dtype=bool), rng).any()
