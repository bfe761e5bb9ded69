"""Fold every segment of a ragged batch over its tree with a symmetrised GRU cell, on one pool of rows.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, section 2.5 and
appendix D. The trees are those of `models.tree_plan`. The pool holds the leaves and then the results of each level, a
contiguous slice each, so nothing is copied upwards. It is all that the backward needs: gates are computed again, a
chunk of pairs at a time. As a row of the pool has one parent, its gradient is written once and never added to, which
makes the backward deterministic. Memory: the pool, its gradient, and the room of a chunk.
"""

from typing import Any

import torch
from torch import Tensor

from models.chunked_pairs import chunks
from models.commutative import BinaryGRU
from models.pair_gates import Fused, InPlace, element_wise
from models.tree_plan import TreePlan

VALUES_ON_PROCESSOR = 2**15  # of a row of each pair of a chunk: measured best, as the room stays in a core's cache
VALUES_ELSEWHERE = 2**22  # a GPU wants work; the room for so many single precision values is half a gigabyte


def pooled_fold(op: BinaryGRU, x: Tensor, plan: TreePlan, *, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """The result of every segment [S, C], zeros where empty, and the pool [rows, C], from the leaves `x` [E, C].

    Rows take the type of the weights, so under autocast the pool stays in full precision. `chunk` pairs are in the
    room at a time; it changes clock and memory alone. Gradients flow through both results; a second derivative raises.
    Raises ValueError where `x` does not fit the plan or the weights.
    """
    channels = op.width
    if x.shape != (plan.leaves, channels):
        raise ValueError(f"x is {list(x.shape)}; the plan has {plan.leaves} leaves and the weights {channels} channels")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; at least one pair must be in the room")
    left, right = [level.left for level in plan.levels], [level.right for level in plan.levels]
    start = [-1 if level.start is None else level.start for level in plan.levels]
    values = VALUES_ON_PROCESSOR if x.device.type == "cpu" else VALUES_ELSEWHERE
    chunk = chunk or max(1, values // channels)
    return _fold(x.to(op.weight_ih.dtype), _packed(op), left, right, start, plan.root, chunk)


def _packed(op: BinaryGRU) -> list[Tensor]:
    """Weights as `models.pair_gates` wants its products: of s and d [2, C, 2C], of a row [C, 2C]; and both biases [2C].

    Here and not in the operator, so that autograd finds the way back to the parameters.
    """
    channels = op.width
    gates, candidate = slice(2 * channels), slice(2 * channels, None)
    given, hidden = op.weight_ih[gates], op.weight_hh[gates]
    of_gates = torch.stack([(hidden + given) / 2, (hidden - given) / 2]).mT.contiguous()
    of_candidate = torch.cat([op.weight_ih[candidate], op.weight_hh[candidate]]).T.contiguous()
    gate_bias = op.bias_ih[gates] + op.bias_hh[gates]
    return [of_gates, of_candidate, gate_bias, torch.cat([op.bias_ih[candidate], op.bias_hh[candidate]])]


# ---------------------------------------------------------------- the operator as torch sees it


def fold(
    x: Tensor,
    packed: list[Tensor],
    left: list[Tensor],
    right: list[Tensor],
    start: list[int],
    root: Tensor,
    chunk: int,
) -> tuple[Tensor, Tensor]:
    """Without autograd: the results and the pool."""
    pool = x.new_empty(len(x) + _results(left), x.shape[1])
    pool[: len(x)] = x
    weights, room = _Weights(*packed), _Room(x, _at_once(left, chunk))
    for pairs in chunks(left, right, start, leaves=len(x), chunk=chunk):
        ab = pairs.read(pool, room.ab)
        _, uv, nh = room.products(ab, weights)
        room.element_wise.forward(ab, uv, nh, pool[pairs.results])
    if len(pool) == 0:
        return x.new_zeros(len(root), x.shape[1]), pool
    return pool[root.clamp(min=0)].masked_fill_((root < 0).unsqueeze(-1), 0), pool


def fold_backward(
    d_out: Tensor | None,
    d_pool: Tensor | None,
    pool: Tensor,
    packed: list[Tensor],
    left: list[Tensor],
    right: list[Tensor],
    start: list[int],
    root: Tensor,
    chunk: int,
) -> tuple[Tensor, list[Tensor]]:
    """The gradients of `x` and of the packed weights; a gradient that is None is zero."""
    leaves, add = len(pool) - _results(left), d_pool is not None
    gradient, weights = _seeded(d_out, d_pool, pool, root), _Weights(*packed)
    at_once = _at_once(left, chunk)
    found, room = _WeightGradients(weights, at_once), _Room(pool, at_once)
    for pairs in reversed(chunks(left, right, start, leaves=leaves, chunk=chunk)):
        ab = pairs.read(pool, room.ab)
        sd, uv, nh = room.products(ab, weights)
        d_ab = pairs.target(gradient, room.d_ab, add=add)
        d_uv, d_nh = room.element_wise.backward(gradient[pairs.results], ab, uv, nh, d_ab)
        found.add(sd, ab, d_uv, d_nh)
        d_ab.baddbmm_(d_nh, weights.of_candidate.mT)
        d_sum, d_difference = torch.bmm(d_uv, weights.of_gates.mT, out=sd)
        d_ab.add_(d_sum)
        d_ab[0].add_(d_difference)
        d_ab[1].sub_(d_difference)
        pairs.write(gradient, d_ab, add=add)
    return gradient[:leaves], found.sums()


_fold = torch.library.custom_op("flockcast::pooled_fold", fold, mutates_args=())
_fold_backward = torch.library.custom_op("flockcast::pooled_fold_backward", fold_backward, mutates_args=())


@_fold.register_fake
def _(x: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    _, left, _, _, root, _ = rest
    return x.new_empty(len(root), x.shape[1]), x.new_empty(len(x) + _results(left), x.shape[1])


@_fold_backward.register_fake
def _(*inputs: Any) -> tuple[Tensor, list[Tensor]]:
    _, _, pool, packed, left, *_ = inputs
    return pool.new_empty(len(pool) - _results(left), pool.shape[1]), [torch.empty_like(weight) for weight in packed]


def _keep(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    _, packed, left, right, ctx.start, root, ctx.chunk = inputs
    ctx.set_materialize_grads(False)  # the pool's gradient is as large as the pool, and mostly nobody asks for it
    ctx.levels = len(left)
    ctx.save_for_backward(output[1], root, *packed, *left, *right)


def _differentiate(ctx: Any, d_out: Tensor | None, d_pool: Tensor | None) -> tuple:
    pool, root, *kept = ctx.saved_tensors
    right, left, packed = kept[len(kept) - ctx.levels :], kept[4 : 4 + ctx.levels], kept[:4]
    nothing = [None] * ctx.levels
    of_start: list | None = None if ctx.start else []  # torch takes an empty list for one of tensors
    if d_out is None and d_pool is None:
        return None, [None] * len(packed), nothing, nothing, of_start, None, None
    d_x, d_packed = _fold_backward(d_out, d_pool, pool, packed, left, right, ctx.start, root, ctx.chunk)
    return d_x, d_packed, nothing, nothing, of_start, None, None


def _refuse(ctx: Any, *grads: Any) -> tuple:
    raise NotImplementedError(
        "pooled_fold has no second derivative, as its backward keeps no graph; for one, use tree_fold.fold"
    )


_fold.register_autograd(_differentiate, setup_context=_keep)
_fold_backward.register_autograd(_refuse)


# ---------------------------------------------------------------- what it is made of


class _Weights:
    def __init__(self, of_gates: Tensor, of_candidate: Tensor, gate_bias: Tensor, candidate_bias: Tensor) -> None:
        self.of_gates, self.of_candidate = of_gates, of_candidate.expand(2, -1, -1)
        self.gate_bias = torch.stack([gate_bias, torch.zeros_like(gate_bias)]).unsqueeze(1)  # u alone has one
        self.candidate_bias = candidate_bias.expand(2, 1, -1)


class _WeightGradients:
    """Sums over chunks, of both products of a batch apart."""

    def __init__(self, weights: _Weights, pairs: int) -> None:
        self.of_gates, self.of_candidate = weights.of_gates.new_zeros(2, *weights.of_gates.shape)
        self.gate_bias, self.candidate_bias = weights.of_gates.new_zeros(2, *weights.gate_bias.shape)
        self.ones = weights.of_gates.new_ones(2, 1, pairs)

    def add(self, sd: Tensor, ab: Tensor, d_uv: Tensor, d_nh: Tensor) -> None:
        ones = self.ones[..., : sd.shape[1]]
        self.of_gates.baddbmm_(sd.mT, d_uv)
        self.of_candidate.baddbmm_(ab.mT, d_nh)
        self.gate_bias.baddbmm_(ones, d_uv)
        self.candidate_bias.baddbmm_(ones, d_nh)

    def sums(self) -> list[Tensor]:
        of_candidate, candidate_bias = self.of_candidate.sum(dim=0), self.candidate_bias.sum(dim=(0, 1))
        return [self.of_gates, of_candidate, self.gate_bias[0, 0], candidate_bias]


class _Room:
    """What a chunk needs beside the pool, taken once."""

    def __init__(self, like: Tensor, pairs: int) -> None:
        channels = like.shape[-1]
        self.ab, self.sd, self.d_ab = like.new_empty(3, 2, pairs, channels)
        self.uv, self.nh = like.new_empty(2, 2, pairs, 2 * channels)
        self.element_wise: InPlace | Fused = element_wise(like, pairs)

    def products(self, ab: Tensor, weights: _Weights) -> tuple[Tensor, Tensor, Tensor]:
        """The sum and the difference of every pair, and the `uv` and `nh` of `models.pair_gates`."""
        sd, uv, nh = (room[:, : ab.shape[1]] for room in (self.sd, self.uv, self.nh))
        torch.add(ab[0], ab[1], out=sd[0])
        torch.sub(ab[0], ab[1], out=sd[1])
        torch.baddbmm(weights.gate_bias, sd, weights.of_gates, out=uv)
        torch.baddbmm(weights.candidate_bias, ab, weights.of_candidate, out=nh)
        return sd, uv, nh


def _seeded(d_out: Tensor | None, d_pool: Tensor | None, pool: Tensor, root: Tensor) -> Tensor:
    """The pool's gradient before any pair has met, and a row more, where empty segments leave theirs.

    Without `d_pool` rows other than the roots hold nothing yet: their parents write them.
    """
    gradient = pool.new_empty(len(pool) + 1, pool.shape[1])
    if d_pool is not None:
        gradient[:-1] = d_pool
        gradient[-1] = 0
    if d_out is not None:
        rows = torch.where(root < 0, len(pool), root)
        gradient.index_copy_(0, rows, d_out if d_pool is None else d_out + gradient[rows])
    return gradient


def _results(left: list[Tensor]) -> int:
    return sum(len(level) for level in left)


def _at_once(left: list[Tensor], chunk: int) -> int:
    return min(chunk, max((len(level) for level in left), default=0))
