"""What a learned operator is charged for what it is not by construction: associative, commutative, neutral to e.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, appendix E. All
are read off the pool of a fold, so a tree's depth costs no further steps. Norms are squared and summed over channels.
"""

import torch
from torch import Tensor

from models.commutative import Operator
from models.tree_plan import TreePlan

NEUTRALITY_LEAVES = 4096  # of a batch, at most; the mean needs no more


def associativity_penalty(op: Operator, pool: Tensor, plan: TreePlan, fraction: float = 1.0) -> Tensor:
    """Mean of |(a b) c - a (b c)|^2 over the nodes a b that meet c, and of the same of b, c, d where c d meets a b.

    A node is ((a b) (c d)) or ((a b) c); all of a batch's terms weigh the same. `fraction` of the nodes, drawn at
    random, estimate the mean without bias. `op` is called twice, on 3 and 2 rows a node.
    """
    pairs = [len(level.left) for level in plan.levels]
    nodes = sum(pairs[1:])  # on the first level leaves meet; above it the left child is never a leaf
    if not nodes:
        return pool.new_zeros(())
    left, right = plan.children[:, pairs[0] :]  # [nodes] each
    terms = nodes + (right >= plan.leaves).sum()
    drawn = max(1, round(fraction * nodes))
    if drawn < nodes:
        some = torch.randperm(nodes, device=pool.device)[:drawn]
        left, right = left[some], right[some]
    return _associators(op, pool, plan, left, right) * (nodes / drawn) / terms


def _associators(op: Operator, pool: Tensor, plan: TreePlan, left: Tensor, right: Tensor) -> Tensor:
    """The sum of the terms of nodes whose children are the rows `left` and `right` [M] of the pool."""
    splits = right >= plan.leaves
    # a leaf as the right child is c itself; b stands in for the d it lacks, so that nothing waits for the host
    inner = plan.children[:, (right - plan.leaves).clamp(min=0)]
    a, b = plan.children[:, left - plan.leaves]
    c, d = torch.where(splits, inner[0], right), torch.where(splits, inner[1], b)
    ab, cd = pool[left], pool[torch.where(splits, right, b)]
    a, b, c, d = pool[a], pool[b], pool[c], pool[d]
    bc, ab_c, b_cd = op(torch.cat([b, ab, b]), torch.cat([c, c, cd])).chunk(3)
    a_bc, bc_d = op(torch.cat([a, bc]), torch.cat([bc, d])).chunk(2)
    return _squares(ab_c, a_bc).sum() + torch.where(splits, _squares(bc_d, b_cd), 0).sum()


def commutativity_penalty(op: Operator, pool: Tensor, plan: TreePlan) -> Tensor:
    """Mean of |a b - b a|^2 over all that met."""
    if not plan.num_ops:
        return pool.new_zeros(())
    left, right = plan.children
    return _squares(pool[plan.leaves :], op(pool[right], pool[left])).mean()


def neutrality_penalty(op: Operator, x: Tensor, identity: Tensor) -> Tensor:
    """Mean of |x e - x|^2 over leaves x [E, C], some of them where there are many."""
    if not len(x):
        return x.new_zeros(())
    if len(x) > NEUTRALITY_LEAVES:
        x = x[torch.randperm(len(x), device=x.device)[:NEUTRALITY_LEAVES]]
    return _squares(op(x, identity.expand_as(x)), x).mean()


def _squares(a: Tensor, b: Tensor) -> Tensor:
    """[M, C] to [M]."""
    return (a - b).square().sum(-1)
