"""Norms of the gradients of linear maps, sample by sample, without the gradients.

A weight [O, I] used as y = W x at K places of a sample (steps, nodes) has the gradient sum_k d_k x_k', with d the
gradient at y. Its squared norm is the sum over pairs of places of (d_k . d_l)(x_k . x_l): two Gram matrices [K, K] of a
sample instead of a gradient [O, I]. A bias is the weight of one more input, which is always 1. Goodfellow, Efficient
Per-Example Gradient Computations, arXiv:1510.01799, for K = 1; Li et al., Large Language Models Can Be Strong
Differentially Private Learners, arXiv:2110.05679, section 4, for sequences.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

MARGIN = 1e-6  # of the squared sum of |d_k| |x_k|: what rounding in single precision can take away, and more
CANCELLED = 3e-3  # of the same: products of Gram matrices below it are taken in double precision


def squared_norms(d: Tensor, inputs: Sequence[Tensor], *, biases: int) -> Tensor:
    """At least the squared norm of each sample's gradient, [B], from `d` [B, K, O] and all `inputs` [B, K, I] that are
    mapped to the same pre-activations, `biases` of the maps with one.

    Terms that cancel leave a sum as small as its rounding error, and a norm that is read too small would not be
    clipped. So what rounding takes away is added: a part in 1e5 where nothing cancels. The error of a Gram matrix grows
    with its layer's width where all roundings go one way, so that samples whose terms cancel are summed in double
    precision.
    """
    places, outputs, width = d.shape[1], d.shape[2], sum(x.shape[2] for x in inputs)
    if places * (outputs + width) < outputs * width:
        return _by_grams(d, inputs, biases)
    found = torch.stack([torch.linalg.vector_norm(d.mT @ x, dim=(1, 2)).square() for x in inputs]).sum(0)
    if biases:
        found = found + biases * d.sum(1).square().sum(1)
    sizes = torch.stack([x.square().sum(-1) for x in inputs]).sum(0) + biases  # [B, K]
    return found + MARGIN * torch.linalg.vecdot(torch.linalg.vector_norm(d, dim=-1), sizes.sqrt()).square()


def _by_grams(d: Tensor, inputs: Sequence[Tensor], biases: int) -> Tensor:
    found, most = _gram_sums(d, inputs, biases)
    doubtful = found < CANCELLED * most
    if doubtful.any():
        exact, _ = _gram_sums(d[doubtful].double(), [x[doubtful].double() for x in inputs], biases)
        found[doubtful] = exact.to(found)
    return found + MARGIN * most


def _gram_sums(d: Tensor, inputs: Sequence[Tensor], biases: int) -> tuple[Tensor, Tensor]:
    """The squared norms, and what they would be if nothing cancelled: [B] each."""
    of_d, of_x = d @ d.mT, inputs[0] @ inputs[0].mT  # [B, K, K]
    for x in inputs[1:]:
        of_x.baddbmm_(x, x.mT)
    if biases:
        of_x += biases
    found = torch.linalg.vecdot(of_d.flatten(1), of_x.flatten(1))
    sizes = of_d.diagonal(dim1=1, dim2=2) * of_x.diagonal(dim1=1, dim2=2)
    return found.clamp(min=0), sizes.clamp(min=0).sqrt().sum(1).square()
