"""Which rows meet in which order when every segment of a ragged batch is folded over a balanced binary tree.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, appendix D. A
segment of n rows is paired (0, 1), (2, 3), and so on; an odd last one moves up as it is; that is repeated until one is
left: n - 1 meetings at a depth of ceil(log2 n). The plan knows of indices alone. It costs O(E) whatever the largest
segment, and a level costs a handful of launches however many segments there are.

All values of a fold are rows of one pool: the leaves first, in stored order, then the results level by level. An odd
row keeps its place, so nothing is ever copied upwards, and every row but the roots has one parent.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Level(NamedTuple):
    """P meetings that don't wait for each other: `pool[first + i]` is of `pool[left[i]]` and `pool[right[i]]`."""

    left: Tensor  # [P]
    right: Tensor  # [P]
    first: int
    start: int | None  # where all pairs are neighbours: left[i] = start + 2 i and right[i] = left[i] + 1
    odd: Tensor  # rows without a partner on this level, of segments that go on


@dataclass(frozen=True)
class TreePlan:
    """The trees of S segments over E rows. `root` [S] is the row of the pool with a segment's result, -1 if empty."""

    leaves: int  # E
    levels: tuple[Level, ...]
    root: Tensor
    segment: Tensor  # [E], of each leaf

    @property
    def num_levels(self) -> int:
        return len(self.levels)

    @property
    def num_ops(self) -> int:
        """Meetings in all: rows less non-empty segments."""
        return sum(len(level.left) for level in self.levels)

    @property
    def rows(self) -> int:
        """Of the pool."""
        return self.leaves + self.num_ops

    @property
    def children(self) -> Tensor:
        """The rows that meet in each row of the pool from `leaves` on, [2, num_ops]."""
        if not self.levels:
            return self.root.new_empty(2, 0)
        left, right = ([level.left for level in self.levels], [level.right for level in self.levels])
        return torch.stack([torch.cat(left), torch.cat(right)])

    def to(self, device: torch.device | str) -> "TreePlan":
        levels = (
            level._replace(left=level.left.to(device), right=level.right.to(device), odd=level.odd.to(device))
            for level in self.levels
        )
        return TreePlan(self.leaves, tuple(levels), self.root.to(device), self.segment.to(device))

    def tiled(self, times: int) -> "TreePlan":
        """Of `times` rows for each one, in trees of their own: row or segment i becomes `times` from i * times."""
        if times == 1:
            return self
        turn = torch.arange(times, device=self.root.device)

        def tile(row: Tensor) -> Tensor:
            return torch.where(row.unsqueeze(1) < 0, -1, row.unsqueeze(1) * times + turn).flatten()

        levels = (
            Level(tile(level.left), tile(level.right), level.first * times, None, tile(level.odd))
            for level in self.levels
        )
        return TreePlan(self.leaves * times, tuple(levels), tile(self.root), tile(self.segment))


def make_plan(ptr: Tensor, leaves: int) -> TreePlan:
    """Of segments that are the rows `ptr[s]` to `ptr[s + 1] - 1` of `leaves` rows, `ptr` [S + 1].

    What the host must know comes to it in one transfer. Raises ValueError where `ptr` does not go from 0 to `leaves`
    without a step back.
    """
    degree = ptr.diff()  # [S]
    count, order = degree.sort(descending=True, stable=True)  # trees that are done are always the last
    sizes, in_order = _on_host(ptr, degree, leaves)
    root = torch.where(degree == 1, ptr[:-1], -1)
    row, first, start = ptr[:0], leaves, 0 if in_order else None
    levels: list[Level] = []
    for active, live, pairs in sizes:
        count = count[:active]
        if not levels:
            tree, turn = _turns(count, live)
            row = ptr[order[:active]][tree] + turn  # [live], rows of the pool, tree by tree
        half = count // 2
        tree, turn = _turns(half, pairs)
        at = (count.cumsum(0) - count)[tree] + 2 * turn
        all_meet = live == 2 * pairs
        odd = row[count.cumsum(0)[_turns(count % 2, live - 2 * pairs)[0]] - 1]
        levels.append(Level(row[at], row[at + 1], first, start if all_meet else None, odd))
        row, count = _after(row, count, half, first, live - pairs), count - half
        ends = row[count.cumsum(0) - count]
        root[order[:active]] = torch.where(count == 1, ends, root[order[:active]])
        first, start = first + pairs, first if all_meet else None
    return TreePlan(leaves, tuple(levels), root, _turns(degree, leaves)[0])


def _on_host(ptr: Tensor, degree: Tensor, leaves: int) -> tuple[list[tuple[int, int, int]], bool]:
    """Of each level the trees that go on, their rows and their pairs; and whether degrees as stored never rise."""
    if len(ptr) == 0:
        raise ValueError("ptr is empty; of S segments it has S + 1 entries, the first of them 0")
    least = degree.min() if len(degree) else ptr.new_zeros(())
    told = [torch.stack([ptr[0], ptr[-1], least, (degree.diff() <= 0).all().to(ptr.dtype)])]
    count = degree
    for _ in range(leaves.bit_length()):
        active = count > 1
        told.append(torch.stack([active.sum(), (count * active).sum(), (count // 2).sum()]))
        count = (count + 1) // 2
    begin, end, least_degree, in_order, *sizes = torch.cat(told).tolist()
    if begin != 0 or end != leaves or least_degree < 0:
        what = "falls" if least_degree < 0 else f"goes from {begin} to {end}"
        raise ValueError(f"ptr {what}; of {leaves} rows it goes from 0 to {leaves} and never falls")
    levels = zip(sizes[::3], sizes[1::3], sizes[2::3], strict=True)
    return [level for level in levels if level[0]], bool(in_order)


def _after(row: Tensor, count: Tensor, half: Tensor, first: int, left: int) -> Tensor:
    """The `left` rows that go on after a level, tree by tree: its results, and then the odd one."""
    tree, turn = _turns(count - half, left)
    result = first + (half.cumsum(0) - half)[tree] + turn
    odd = row[(count.cumsum(0) - 1)[tree]]
    return torch.where(turn < half[tree], result, odd)


def _turns(count: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Of `total` things, `count` [A] a tree, the tree of each and its number there: [total] each."""
    tree = torch.arange(len(count), device=count.device).repeat_interleave(count, output_size=total)
    return tree, torch.arange(total, device=count.device) - (count.cumsum(0) - count)[tree]
