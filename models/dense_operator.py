"""A normalised adjacency kept as a dense matrix, which may differ from sample to sample of a batch.

For graphs of up to a few thousand nodes of which a batch has many different ones: one product does them all, and
normalising costs two vectors a graph.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class DenseOperator:
    """diag(`after`) (A + I) diag(`before`), never multiplied out: `matrix` A [..., N, N], the others [..., N, 1]."""

    matrix: Tensor
    before: Tensor | None
    after: Tensor

    def __call__(self, h: Tensor) -> Tensor:
        """`h` [..., N, C] to the same shape; one matrix serves a whole batch, or every sample has its own."""
        seen = h if self.before is None else self.before * h
        return self.after * (self.matrix @ seen + seen)


def dense_symmetric_operator(matrix: Tensor) -> DenseOperator:
    """D~^(-1/2) (A + I) D~^(-1/2) of a symmetric A."""
    root = (matrix.sum(-1, keepdim=True) + 1).rsqrt()
    return DenseOperator(matrix, root, root)


def dense_row_operators(matrix: Tensor) -> tuple[DenseOperator, DenseOperator]:
    """The means over a node and where its edges lead (A + I), and over it and where they come from (A^T + I).

    `matrix` [..., N, N] has in row u and column v the weight from u to v, 0 or more.
    """
    along, against = (1 / (side.sum(-1, keepdim=True) + 1) for side in (matrix, matrix.mT))
    return DenseOperator(matrix, None, along), DenseOperator(matrix.mT, None, against)
