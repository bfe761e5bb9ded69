"""Normalised adjacency against dense matrices, and the products on it."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from models.adjacency import Adjacency, block_diagonal, directed_adjacency, propagate, symmetric_adjacency

EXACT = {"atol": 1e-12, "rtol": 0}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def both_ways(edge_index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([edge_index, edge_index.flip(0)], dim=1), torch.cat([weight, weight])


def dense(edge_index: Tensor, weight: Tensor, nodes: int) -> Tensor:
    """A of loops: row is the source."""
    total = torch.zeros(nodes, nodes)
    for (u, v), each in zip(edge_index.T.tolist(), weight.tolist(), strict=True):
        total[u, v] += each
    return total


def random_edges(nodes: int = 12, edges: int = 40) -> tuple[Tensor, Tensor]:
    """With duplicates and self-loops; the last node is isolated."""
    return torch.randint(nodes - 1, (2, edges)), torch.rand(edges)


def matrices(adjacency: Adjacency) -> list[Tensor]:
    return [operator.matrix.to_dense() for operator in adjacency.operators]


def test_the_symmetric_norm_is_that_of_the_paper() -> None:
    edges, weight = both_ways(*random_edges())
    (found,) = matrices(symmetric_adjacency(edges, weight, nodes=12))
    summed = dense(edges, weight, 12) + torch.eye(12)
    scale = summed.sum(1).rsqrt().diag()
    torch.testing.assert_close(found, scale @ summed @ scale, **EXACT)
    torch.testing.assert_close(found, found.T, **EXACT)
    assert torch.linalg.eigvalsh(found).abs().max() <= 1 + 1e-12
    assert found[11, 11] == 1
    assert found[11, :11].abs().max() == 0


def test_a_raw_self_loop_adds_to_the_identity_and_duplicates_add_up() -> None:
    edges = torch.tensor([[0, 0, 1, 1, 0], [1, 1, 0, 0, 0]])
    (found,) = matrices(symmetric_adjacency(edges, torch.tensor([1.0, 2, 1, 2, 4]), nodes=2))
    expected = torch.tensor([[5 / 8, 3 / 32**0.5], [3 / 32**0.5, 1 / 4]])  # A~ = [[1 + 4, 3], [3, 1]], degrees 8 and 4
    torch.testing.assert_close(found, expected, **EXACT)


def test_edges_without_weights_weigh_one() -> None:
    edges = torch.tensor([[0, 1], [1, 0]])
    torch.testing.assert_close(matrices(symmetric_adjacency(edges, nodes=2))[0], torch.full((2, 2), 0.5), **EXACT)


def test_the_directed_pair_averages_along_the_edges_and_against_them() -> None:
    edges, weight = random_edges()
    along, against = matrices(directed_adjacency(edges, weight, nodes=12))
    summed = dense(edges, weight, 12) + torch.eye(12)
    torch.testing.assert_close(along, summed / summed.sum(1, keepdim=True), **EXACT)
    torch.testing.assert_close(against, summed.T / summed.T.sum(1, keepdim=True), **EXACT)


@pytest.mark.parametrize("edges", [torch.zeros(2, 0, dtype=torch.long), torch.tensor([[0], [0]])])
@pytest.mark.parametrize("make", [symmetric_adjacency, directed_adjacency])
def test_one_node_stays_itself_with_or_without_a_loop(make: object, edges: Tensor) -> None:
    for operator in make(edges, nodes=1).operators:
        torch.testing.assert_close(operator.matrix.to_dense(), torch.ones(1, 1), **EXACT)


def test_no_nodes_are_a_graph_too() -> None:
    adjacency = symmetric_adjacency(torch.zeros(2, 0, dtype=torch.long), nodes=0)
    assert propagate(adjacency.operators[0], torch.zeros(0, 3)).shape == (0, 3)


def test_products_and_their_gradients_are_those_of_the_dense_matrix() -> None:
    adjacency = directed_adjacency(*random_edges(), nodes=12)
    h = torch.randn(12, 5, requires_grad=True)
    for operator in adjacency.operators:
        assert torch.equal(operator.matrix.to_dense().T, operator.transposed.to_dense())
        torch.testing.assert_close(propagate(operator, h), operator.matrix.to_dense() @ h, **EXACT)
        assert torch.autograd.gradcheck(lambda each, op=operator: propagate(op, each), h, atol=1e-6)
        assert torch.autograd.gradgradcheck(lambda each, op=operator: propagate(op, each).tanh(), h, atol=1e-6)


def test_a_batch_shares_a_graph_or_has_one_each() -> None:
    first = directed_adjacency(*random_edges(), nodes=12)
    second = directed_adjacency(*random_edges(9), nodes=9)
    h = torch.randn(2, 12, 5)
    shared = propagate(first.operators[0], h)
    blocks = block_diagonal([first, second], nodes=12)
    for place in (0, 1):
        one, other = first.operators[place], second.operators[place]
        apart = propagate(blocks.operators[place], h)
        torch.testing.assert_close(apart[0], propagate(one, h[0]), **EXACT)
        torch.testing.assert_close(apart[1, :9], propagate(other, h[1, :9]), **EXACT)
        assert not apart[1, 9:].any()
        assert torch.equal(blocks.operators[place].matrix.to_dense().T, blocks.operators[place].transposed.to_dense())
    torch.testing.assert_close(shared, torch.stack([propagate(first.operators[0], each) for each in h]), **EXACT)


def test_a_product_under_vmap_equals_a_loop() -> None:
    operator = directed_adjacency(*random_edges(), nodes=12).operators[0]
    h = torch.randn(12, 3, 5)

    def slope(each: Tensor) -> Tensor:
        return torch.func.grad(lambda x: propagate(operator, x).tanh().sum())(each)

    mapped = torch.func.vmap(slope, in_dims=1)(h)
    torch.testing.assert_close(mapped, torch.stack([slope(h[:, place]) for place in range(3)]), **EXACT)


@pytest.mark.parametrize(
    ("edges", "weight", "says"),
    [
        ([[0, 4], [4, 0]], None, "names node 4 but the graph has 4"),
        ([[0, -1], [-1, 0]], None, "names node -1"),
        ([[1, 2], [2, 1]], [1.0, -2.0], "edge 2 -> 1 is -2"),
        ([[1, 2], [2, 1]], [1.0, float("nan")], "edge 2 -> 1 is not finite"),
        ([[1, 2], [2, 1]], [1.0], r"they should be \[2, E\]"),
        ([[0, 1], [1, 2]], None, "not the same in both directions"),
        ([[0, 1], [1, 0]], [1.0, 1.1], "not the same in both directions"),
    ],
)
def test_what_is_no_undirected_graph_is_refused(edges: list, weight: list | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        symmetric_adjacency(torch.tensor(edges), None if weight is None else torch.tensor(weight), nodes=4)
