import pytest
import torch
from torch import Tensor

from models.adjacency import block_diagonal, dense_adjacency, directed_adjacency, propagate, symmetric_adjacency


def weights(*shape: int, symmetric: bool) -> Tensor:
    """Half of the pairs are joined, one node by nothing, another one to itself."""
    torch.manual_seed(0)
    matrix = torch.rand(*shape, dtype=torch.float64) * (torch.rand(*shape) < 0.5)
    matrix = matrix + matrix.mT if symmetric else matrix
    matrix[..., 2, :], matrix[..., :, 2], matrix[..., 1, 1] = 0, 0, 0.7
    return matrix


@pytest.mark.parametrize("directed", [False, True])
def test_dense_and_sparse_adjacencies_are_the_same(directed: bool) -> None:
    matrix = weights(6, 6, symmetric=not directed)
    edges = matrix.nonzero().T
    sparse = (directed_adjacency if directed else symmetric_adjacency)(edges, matrix[tuple(edges)], nodes=6)
    dense = dense_adjacency(matrix, directed=directed)
    h = torch.rand(3, 6, 4, dtype=torch.float64)
    assert dense.nodes == sparse.nodes == 6
    assert len(dense.operators) == len(sparse.operators)
    for ours, theirs in zip(dense.operators, sparse.operators, strict=True):
        torch.testing.assert_close(propagate(ours, h), propagate(theirs, h), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("directed", [False, True])
def test_a_batch_of_matrices_is_each_one_by_itself(directed: bool) -> None:
    matrices, h = weights(3, 5, 5, symmetric=not directed), torch.rand(3, 5, 4, dtype=torch.float64)
    together = dense_adjacency(matrices, directed=directed)
    for sample in range(3):
        alone = dense_adjacency(matrices[sample], directed=directed)
        for whole, one in zip(together.operators, alone.operators, strict=True):
            torch.testing.assert_close(propagate(whole, h)[sample], propagate(one, h[sample]))


def test_dense_matrices_are_no_block_diagonal() -> None:
    with pytest.raises(ValueError, match="stacked as a batch"):
        block_diagonal([dense_adjacency(weights(4, 4, symmetric=False), directed=True)], 4)
