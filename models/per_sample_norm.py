"""Norms of the gradients of linear maps, sample by sample, without the gradients.

A weight [O, I] used as y = W x at K places of a sample (steps, nodes) has the gradient sum_k d_k x_k', with d the
gradient at y. Its squared norm is the sum over pairs of places of (d_k . d_l)(x_k . x_l): two Gram matrices [K, K] of a
sample instead of a gradient [O, I]. A bias is the weight of one more input, which is always 1. Goodfellow, Efficient
Per-Example Gradient Computations, arXiv:1510.01799, for K = 1; Li et al., Large Language Models Can Be Strong
Differentially Private Learners, arXiv:2110.05679, section 4, for sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 1e-6  # of the squared sum of |d_k| |x_k|: what rounding in single precision can take away, and more
CANCELLED = 3e-3  # of the same: products of Gram matrices below it are taken in double precision


@dataclass(frozen=True)
class Inputs:
    """Of one linear map: what it reads [B, K, I], and whether it has a bias."""

    values: Tensor
    is_biased: bool


Group = tuple[Tensor, Sequence[Inputs]]  # gradients at some pre-activations [B, K, O], and of all maps that lead there


def squared_norms(groups: Sequence[Group]) -> Tensor:
    """At least the squared norm of each sample's gradient, [B], of all maps of all groups together.

    Terms that cancel leave a sum as small as its rounding error, and a norm that is read too small would not be
    clipped. So what rounding takes away is added: a part in 1e5 where nothing cancels. The error of a Gram matrix grows
    with its layer's width where all roundings go one way, so that samples whose terms cancel are summed in double
    precision.
    """
    outputs = sum(d.shape[2] for d, _ in groups)
    inputs = {id(each): each for _, maps in groups for each in maps}
    places, width = groups[0][0].shape[1], sum(each.values.shape[2] for each in inputs.values())
    if places == 1:  # nothing can cancel
        return torch.stack([_of_one_place(d, maps) for d, maps in groups]).sum(0)
    if places * (outputs + width) >= outputs * width:
        return torch.stack([_by_product(d, maps) for d, maps in groups]).sum(0)
    grams = {key: _gram(each.values, each.is_biased) for key, each in inputs.items()}  # once for all groups of a map
    return torch.stack([_by_grams(d, maps, [grams[id(each)] for each in maps]) for d, maps in groups]).sum(0)


def _of_one_place(d: Tensor, maps: Sequence[Inputs]) -> Tensor:
    of_x = sum(torch.linalg.vecdot(each.values, each.values) + int(each.is_biased) for each in maps)
    return (1 + MARGIN) * (torch.linalg.vecdot(d, d) * of_x).squeeze(1)


def _by_product(d: Tensor, maps: Sequence[Inputs]) -> Tensor:
    biases = sum(each.is_biased for each in maps)
    found = torch.stack([torch.linalg.vector_norm(d.mT @ each.values, dim=(1, 2)).square() for each in maps]).sum(0)
    if biases:
        found = found + biases * d.sum(1).square().sum(1)
    sizes = torch.stack([each.values.square().sum(-1) for each in maps]).sum(0) + biases  # [B, K]
    return found + MARGIN * torch.linalg.vecdot(torch.linalg.vector_norm(d, dim=-1), sizes.sqrt()).square()


def _gram(values: Tensor, is_biased: bool) -> Tensor:
    found = values @ values.mT  # [B, K, K]
    return found.add_(1) if is_biased else found


def _by_grams(d: Tensor, maps: Sequence[Inputs], grams: Sequence[Tensor]) -> Tensor:
    found, most = _gram_sums(d, grams)
    doubtful = found < CANCELLED * most
    if doubtful.any():
        in_double = [_gram(each.values[doubtful].double(), each.is_biased) for each in maps]
        found[doubtful] = _gram_sums(d[doubtful].double(), in_double)[0].to(found)
    return found + MARGIN * most


def _gram_sums(d: Tensor, grams: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The squared norms, and what they would be if nothing cancelled: [B] each."""
    of_d, of_x = d @ d.mT, sum(grams[1:], start=grams[0])
    found = torch.linalg.vecdot(of_d.flatten(1), of_x.flatten(1))
    sizes = of_d.diagonal(dim1=1, dim2=2) * of_x.diagonal(dim1=1, dim2=2)
    return found.clamp(min=0), sizes.clamp(min=0).sqrt().sum(1).square()
