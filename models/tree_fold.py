"""Fold every segment of a ragged batch over its tree, in plain autograd.

Works for any operator and can be differentiated twice; it keeps whatever the operator keeps. Of a level's rows only
those that go on are held together for the next one: a row that waits is copied once a level, never the whole pool.
"""

import torch
from torch import Tensor

from models.commutative import Operator
from models.tree_plan import Level, TreePlan


def fold(op: Operator, x: Tensor, plan: TreePlan) -> Tensor:
    """The pool of `plan` over the leaves x [E, C]: x, then what met, level by level, [rows, C].

    `op` is called once a level. Results of segments are read off by `segment_values`.
    """
    at = torch.arange(plan.rows, device=x.device)  # where a row of the pool is among the live
    live, levels = x, []
    for level in plan.levels:
        met = op(*_operands(live, level, at))
        levels.append(met)
        waiting = live[at[level.odd]]
        at[level.first : level.first + len(met)] = torch.arange(len(met), device=x.device)
        at[level.odd] = torch.arange(len(met), len(met) + len(waiting), device=x.device)
        live = torch.cat([met, waiting]) if len(waiting) else met
    return torch.cat([x, *levels])


def _operands(live: Tensor, level: Level, at: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right rows, [P, C] each; where pairs are neighbours they are the live rows as they stand."""
    pairs = len(level.left)
    if level.start is not None:
        left, right = live[: 2 * pairs].unflatten(0, (pairs, 2)).unbind(1)
        return left, right
    return live[at[level.left]], live[at[level.right]]


def segment_values(pool: Tensor, plan: TreePlan) -> Tensor:
    """Of each segment, [S, C]; an empty one's is zero."""
    if not plan.rows:
        return pool.new_zeros(len(plan.root), pool.shape[1])
    values = pool[plan.root.clamp(min=0)]
    return torch.where((plan.root < 0).unsqueeze(1), 0, values)
