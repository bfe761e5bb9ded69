import networkx as nx
import numpy as np
import pytest
import torch

from data.pna_multitask import FAR_SIZES, TASKS, draw_multitask, draw_sized, targets


@pytest.fixture(scope="module")
def graphs():
    return draw_sized(30, 15, np.random.default_rng(0))


@pytest.fixture(scope="module")
def small():
    return draw_multitask(train=6, validation=2, test=3, far=0, seed=1)


def test_the_targets_are_those_that_networkx_finds_graph_by_graph(graphs):
    seen_unconnected = False
    for adjacency, x, of_nodes, of_graph in zip(
        graphs.adjacency.numpy(), graphs.x.numpy(), graphs.node_targets, graphs.graph_targets, strict=True
    ):
        graph, values, source = nx.from_numpy_array(adjacency), x[:, 0].astype(float), int(x[:, 1].argmax())
        apart = dict(nx.all_pairs_shortest_path_length(graph))
        connected = nx.is_connected(graph)
        seen_unconnected |= not connected
        assert of_nodes[:, 0].tolist() == [apart[source].get(node, 0) for node in graph]
        assert of_nodes[:, 1].tolist() == [max(apart[node].values()) for node in graph]
        laplacian = by_hand(graph, values)
        torch.testing.assert_close(of_nodes[:, 2], torch.tensor(laplacian).float(), atol=1e-5, rtol=1e-5)
        assert bool(of_graph[0]) == connected
        assert of_graph[1] == max(max(steps.values()) for steps in apart.values())
        if connected:
            assert of_graph[1] == nx.diameter(graph)
        radius = np.abs(np.linalg.eigvals(nx.to_numpy_array(graph))).max()
        assert float(of_graph[2]) == pytest.approx(radius, rel=1e-5)  # float32
    assert seen_unconnected


def by_hand(graph: nx.Graph, values: np.ndarray) -> list[float]:
    return [sum(values[node] - values[other] for other in graph[node]) for node in graph]


def test_a_connected_bipartite_graph_is_connected():
    """The published generator says it is not."""
    path = nx.to_numpy_array(nx.path_graph(6)) > 0
    about_nodes, about_graph = targets(path[None], np.zeros((1, 6)), np.array([0]))
    assert about_graph[0].tolist() == [1, 5, pytest.approx(2 * np.cos(np.pi / 7))]  # a path's spectral radius
    assert about_nodes[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert about_nodes[0, :, 1].tolist() == [5, 4, 3, 3, 4, 5]


def test_one_node_a_graph_is_marked_as_the_source_and_is_at_distance_zero(graphs):
    assert graphs.x[..., 1].sum(1).eq(1).all()
    assert graphs.node_targets[..., 0][graphs.x[..., 1] == 1].eq(0).all()


def test_edges_are_those_of_each_graph_and_sorted_by_target(graphs):
    source, target = graphs.edge_index
    assert (target.diff() >= 0).all()
    assert torch.equal(source // 15, target // 15)
    assert graphs.adjacency[target // 15, target % 15, source % 15].all()
    assert len(source) == graphs.adjacency.sum()


def test_sizes_are_those_of_the_protocol(small):
    assert [(len(part), part.nodes) for part in small.train] == [(6, nodes) for nodes in range(15, 25)]
    assert [(len(part), part.nodes) for part in small.validation] == [(2, nodes) for nodes in range(15, 20)]
    assert {name: [part.nodes for part in parts] for name, parts in small.test.items()} == {"15-19": [*range(15, 20)]}
    assert [sizes[0] for sizes in FAR_SIZES] == [20, 25, 30, 35, 40, 45, 60, 75, 95]
    assert FAR_SIZES[-1][-1] == 99


def test_larger_graphs_are_drawn_where_asked_and_leave_the_others_as_they_are(small, monkeypatch):
    monkeypatch.setattr("data.pna_multitask.FAR_SIZES", (range(20, 22), range(30, 31)))
    far = draw_multitask(train=6, validation=2, test=3, far=2, seed=1)
    assert [part.nodes for part in far.test["20-21"]] == [20, 21]
    assert list(far.test) == ["15-19", "20-21", "30-30"]
    for ours, theirs in zip(far.train + far.test["15-19"], small.train + small.test["15-19"], strict=True):
        assert torch.equal(ours.node_targets, theirs.node_targets)


def test_the_largest_target_of_each_task_in_training_is_one(small):
    nodes = torch.cat([part.node_targets.flatten(0, 1) for part in small.train]).amax(0)
    graphs = torch.cat([part.graph_targets for part in small.train]).amax(0)
    assert torch.cat([nodes, graphs]).tolist() == [1.0] * len(TASKS)


def test_the_training_mean_counts_every_node_and_every_graph_alike(small):
    mean = small.train_mean()
    values = [value for part in small.train for graph in part.node_targets[..., 1].tolist() for value in graph]
    assert float(mean[1]) == pytest.approx(sum(values) / len(values))
    assert len(mean) == len(TASKS)


def test_equal_seeds_draw_equal_graphs_and_no_part_repeats_another(small):
    again = draw_multitask(train=6, validation=2, test=3, seed=1)
    assert torch.equal(again.train[3].adjacency, small.train[3].adjacency)
    assert torch.equal(again.validation[0].x, small.validation[0].x)
    assert not torch.equal(small.train[0].x[:2], small.validation[0].x)
    assert not torch.equal(small.validation[0].x, small.test["15-19"][0].x[:2])
    assert not torch.equal(draw_multitask(train=6, validation=2, test=3, seed=2).train[0].x, small.train[0].x)


def test_nothing_to_train_on_and_graphs_too_small_are_refused():
    with pytest.raises(ValueError, match="graphs a size"):
        draw_multitask(train=0)
    with pytest.raises(ValueError, match="needs 4 or more"):
        draw_sized(1, 3, np.random.default_rng(0))
