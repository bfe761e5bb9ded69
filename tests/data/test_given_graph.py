import numpy as np
import polars as pl
import pytest
import torch

from data.given_graph import edge_list_graph, matrix_graph

NODES = ("a", "b", "c")


def dense(graph) -> torch.Tensor:
    matrix = torch.zeros(len(graph.nodes), len(graph.nodes))
    matrix[tuple(graph.edge_index)] = graph.edge_weight
    return matrix


def test_a_matrix_is_its_graph():
    matrix = np.array([[0.5, 0, 2], [0, 0, 0], [1, 3, 0]])
    assert dense(matrix_graph(matrix)).tolist() == matrix.tolist()
    assert matrix_graph(np.zeros((3, 3))).nodes.tolist() == [0, 1, 2]


def test_repeated_edges_add_up_and_an_undirected_loop_counts_once():
    edges = pl.DataFrame({"source": ["c", "a", "a", "b"], "target": ["a", "c", "c", "b"], "weight": [1, 2, 3, 4]})
    assert dense(edge_list_graph(edges, NODES, is_directed=True)).tolist() == [[0, 0, 5], [0, 4, 0], [1, 0, 0]]
    assert dense(edge_list_graph(edges, NODES, is_directed=False)).tolist() == [[0, 0, 6], [0, 4, 0], [6, 0, 0]]


def test_edges_without_weights_weigh_one_each():
    edges = pl.DataFrame({"source": [1, 1], "target": [2, 2]})
    assert dense(edge_list_graph(edges, ("1", "2"), is_directed=True)).tolist() == [[0, 2], [0, 0]]


def test_an_edge_to_an_unknown_node_is_told():
    edges = pl.DataFrame({"source": ["a", "b"], "target": ["b", "z"]})
    with pytest.raises(ValueError, match="edge 1 names the target 'z', which is not among the 3 nodes"):
        edge_list_graph(edges, NODES, is_directed=True)


def test_a_missing_column_is_told():
    with pytest.raises(ValueError, match="needs the column 'target'; it has source, to"):
        edge_list_graph(pl.DataFrame({"source": ["a"], "to": ["b"]}), NODES, is_directed=True)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), None])
def test_a_weight_that_is_none_is_told(weight):
    edges = pl.DataFrame({"source": ["a", "b"], "target": ["b", "c"], "weight": [1.0, weight]})
    with pytest.raises(ValueError, match="edge 1 from 'b' to 'c' has the weight"):
        edge_list_graph(edges, NODES, is_directed=True)


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        ([[0, -1], [0, 0]], "has -1 from node 0 to node 1"),
        ([[0, 0], [np.nan, 0]], "has nan from node 1 to node 0"),
        ([[0, 1, 0], [0, 0, 0]], r"square, .* not \[2, 3\]"),
    ],
)
def test_a_matrix_that_is_no_adjacency_is_told(matrix, told):
    with pytest.raises(ValueError, match=told):
        matrix_graph(np.array(matrix, dtype=float))
