"""Normalised adjacency matrices of one snapshot, worked out once and used by every layer and call.

Kipf and Welling, Semi-Supervised Classification with Graph Convolutional Networks, arXiv:1609.02907, section 2: with
A~ = A + I and D~ its row sums, A^ = D~^(-1/2) A~ D~^(-1/2). A raw self-loop adds to the identity (PyG's `gcn_norm`
would put it in the identity's place), edges named twice add up, an isolated node has A^_ii = 1. Flows from place to
place have a direction, which this norm knows nothing of: they get a pair of row-normalised matrices instead.

Products run on CSR matrices with 32-bit indices, backwards on the stored transpose; autograd's own backward of a sparse
product is several times slower, and so is a product with an uncoalesced matrix.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.dense_operator import DenseOperator, dense_row_operators, dense_symmetric_operator


@dataclass(frozen=True, eq=False)
class Operator:
    """A constant sparse matrix [N, N] with its transpose, both CSR."""

    matrix: Tensor
    transposed: Tensor

    @property
    def mT(self) -> "Operator":  # noqa: N802  # as torch calls it
        return Operator(self.transposed, self.matrix)


@dataclass(frozen=True, eq=False)
class Adjacency:
    """What a graph convolution multiplies by: one operator, or two (along the edges and against them)."""

    operators: tuple[Operator | DenseOperator, ...]

    @property
    def nodes(self) -> int:
        return self.operators[0].matrix.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        return self.operators[0].matrix.dtype


def symmetric_adjacency(edge_index: Tensor, edge_weight: Tensor | None = None, *, nodes: int) -> Adjacency:
    """A^ of an undirected graph; `edge_index` [2, E] names every edge in both directions, `edge_weight` [E] or all 1.

    Raises ValueError for nodes that do not exist, weights that are negative or not finite, and a graph that is not
    symmetric.
    """
    (row, column), weight = _with_identity(edge_index, edge_weight, nodes)
    _check_symmetric(row, column, weight, nodes)
    scale = _sums(row, weight, nodes).rsqrt()
    matrix = _csr(_row_starts(row, nodes), column, weight * (scale[row] * scale[column]))
    return Adjacency((Operator(matrix, matrix),))


def directed_adjacency(edge_index: Tensor, edge_weight: Tensor | None = None, *, nodes: int) -> Adjacency:
    """Two row-normalised operators for `edge_index` [2, E], source to target.

    The first averages over a node and where its edges lead (A + I), the second over it and where they come from
    (A^T + I). Raises ValueError as `symmetric_adjacency`, but for symmetry.
    """
    (source, target), weight = _with_identity(edge_index, edge_weight, nodes)
    outward = weight / _sums(source, weight, nodes)[source]
    inward = weight / _sums(target, weight, nodes)[target]
    order = torch.argsort(target, stable=True)  # the rows of the transpose
    starts, transposed_starts = _row_starts(source, nodes), _row_starts(target[order], nodes)
    along = Operator(_csr(starts, target, outward), _csr(transposed_starts, source[order], outward[order]))
    against = Operator(_csr(transposed_starts, source[order], inward[order]), _csr(starts, target, inward))
    return Adjacency((along, against))


def dense_adjacency(matrix: Tensor, *, directed: bool) -> Adjacency:
    """As the two above, of weights in a matrix [..., N, N] that is not checked: row u, column v is from u to v."""
    return Adjacency(dense_row_operators(matrix) if directed else (dense_symmetric_operator(matrix),))


def dense_directed_adjacency(weights: Tensor) -> Adjacency:
    """`directed_adjacency` of B graphs at once, block-diagonal, from `weights` [B, N, N], source to target.

    For graphs in which most pairs are joined: every pair is stored, and nothing has to be sorted. Weights are finite
    and at least 0, which is not looked at.
    """
    batch, nodes, _ = weights.shape
    whole = weights + torch.eye(nodes, dtype=weights.dtype, device=weights.device)
    starts = torch.arange(batch * nodes + 1, device=weights.device) * nodes
    first = torch.arange(batch, device=weights.device).repeat_interleave(nodes) * nodes  # of each row's block
    columns = (first[:, None] + torch.arange(nodes, device=weights.device)).flatten()
    outward, inward = whole / whole.sum(2, keepdim=True), whole / whole.sum(1, keepdim=True)
    return Adjacency(
        tuple(
            Operator(_csr(starts, columns, part.flatten()), _csr(starts, columns, part.mT.flatten()))
            for part in (outward, inward.mT)
        )
    )


def block_diagonal(adjacencies: Sequence[Adjacency], nodes: int) -> Adjacency:
    """Separate sparse graphs as one, each with rows for `nodes` nodes; rows beyond a graph's own are empty."""
    parts = zip(*(map(_sparse, each.operators) for each in adjacencies), strict=True)
    return Adjacency(
        tuple(
            Operator(
                _blocks([each.matrix for each in operators], nodes),
                _blocks([each.transposed for each in operators], nodes),
            )
            for operators in parts
        )
    )


def _sparse(operator: Operator | DenseOperator) -> Operator:
    if isinstance(operator, DenseOperator):
        raise ValueError("dense adjacencies are stacked as a batch of matrices, not as one block diagonal")
    return operator


def propagate(operator: Operator | DenseOperator, h: Tensor) -> Tensor:
    """`operator` times `h` [N, C] or [B, N, C].

    With a batch, the operator is the block diagonal of B graphs, or one graph that all of the batch share; a dense one
    may have B matrices.
    """
    if isinstance(operator, DenseOperator):
        return operator(h)
    if h.dim() == 2:
        return _Product.apply(h, operator)
    batch, nodes, _ = h.shape
    if operator.matrix.shape[0] == batch * nodes:
        return _Product.apply(h.flatten(0, 1), operator).unflatten(0, (batch, nodes))
    beside = _Product.apply(h.movedim(0, 1).flatten(1), operator)  # [N, B * C]
    return beside.unflatten(1, (batch, -1)).movedim(1, 0)


class _Product(torch.autograd.Function):
    """A constant sparse matrix times a dense one, differentiable as often as wanted."""

    @staticmethod
    def forward(h: Tensor, operator: Operator) -> Tensor:
        return operator.matrix @ h

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Operator], _: Tensor) -> None:
        ctx.operator = inputs[1]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        return _Product.apply(grad, ctx.operator.mT), None  # type: ignore[attr-defined]

    @staticmethod
    def vmap(_: object, in_dims: tuple[int, None], h: Tensor, operator: Operator) -> tuple[Tensor, int]:
        samples = h.movedim(in_dims[0], 1)  # [N, S, C]
        beside = _Product.apply(samples.flatten(1), operator)  # [N, S * C]
        return beside.unflatten(1, samples.shape[1:]), 1


def _with_identity(edge_index: Tensor, edge_weight: Tensor | None, nodes: int) -> tuple[Tensor, Tensor]:
    """Indices [2, E] and weights [E] of A + I, row by row, every pair once."""
    if edge_weight is None:
        edge_weight = torch.ones(edge_index.shape[1], device=edge_index.device)
    _check_edges(edge_index, edge_weight, nodes)
    loop = torch.arange(nodes, device=edge_index.device).expand(2, -1)
    summed = torch.sparse_coo_tensor(
        torch.cat([edge_index, loop], dim=1),
        torch.cat([edge_weight, edge_weight.new_ones(nodes)]),
        (nodes, nodes),
        check_invariants=False,  # `_check_edges` has said more in plainer words
    ).coalesce()
    return summed.indices(), summed.values()


def _check_edges(edge_index: Tensor, edge_weight: Tensor, nodes: int) -> None:
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_weight.shape != edge_index.shape[1:]:
        raise ValueError(
            f"edge_index is {tuple(edge_index.shape)} and edge_weight {tuple(edge_weight.shape)}; "
            "they should be [2, E] and [E]"
        )
    if not edge_weight.numel():
        return
    low, high = edge_index.min().item(), edge_index.max().item()
    if low < 0 or high >= nodes:
        raise ValueError(f"edge_index names node {low if low < 0 else high} but the graph has {nodes} nodes")
    if not edge_weight.isfinite().all():
        edge = edge_index[:, ~edge_weight.isfinite()][:, 0].tolist()
        raise ValueError(f"the weight of edge {edge[0]} -> {edge[1]} is not finite; leave such edges out")
    if edge_weight.min() < 0:
        edge = edge_index[:, edge_weight.argmin()].tolist()
        raise ValueError(
            f"the weight of edge {edge[0]} -> {edge[1]} is {edge_weight.min().item():g}; degrees need weights of at "
            "least 0 (make a feature of the sign)"
        )


def _check_symmetric(row: Tensor, column: Tensor, weight: Tensor, nodes: int) -> None:
    """A u against A^T u for one generic u: linear in the edges, where a transpose would have to be sorted."""
    u = torch.rand(nodes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(weight.device)
    exact = weight.double()
    out, back = _sums(row, exact * u[column], nodes), _sums(column, exact * u[row], nodes)
    off = (out - back).abs() > 1e-5 * (out + back)  # weights summed in another order differ in their last digits
    if off.any():
        raise ValueError(
            f"the edges of node {off.nonzero()[0].item()} are not the same in both directions; "
            "add every edge's reverse, or use directed_adjacency"
        )


def _sums(index: Tensor, values: Tensor, nodes: int) -> Tensor:
    return values.new_zeros(nodes).index_add(0, index, values)


def _row_starts(row: Tensor, nodes: int) -> Tensor:
    """Where each row begins among sorted `row` numbers [E]: [N + 1]."""
    return torch.searchsorted(row, torch.arange(nodes + 1, device=row.device))


def _blocks(matrices: Sequence[Tensor], nodes: int) -> Tensor:
    starts, columns, filled = [matrices[0].crow_indices()[:1]], [], 0
    for block, matrix in enumerate(matrices):
        ends = matrix.crow_indices()[1:] + filled
        filled += len(matrix.values())
        starts += [ends, ends.new_full((nodes - len(ends),), filled)]
        columns.append(matrix.col_indices() + block * nodes)
    return _csr(torch.cat(starts), torch.cat(columns), torch.cat([matrix.values() for matrix in matrices]))


def _csr(starts: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    nodes = len(starts) - 1
    with warnings.catch_warnings():  # torch says once that CSR is in beta state
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts.int(), columns.int(), values, (nodes, nodes), check_invariants=False)
