"""The pairs of a plan's levels, a chunk at a time, and how they read from and write to rows of a pool."""

from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """A chunk of a level of `models.tree_plan`."""

    left: Tensor  # [P]
    right: Tensor  # [P]
    start: int  # of 2 P neighbouring rows, or -1
    results: slice  # the P rows of the pool that these pairs make

    def read(self, pool: Tensor, room: Tensor) -> Tensor:
        """Both rows of every pair [2, P, C]: a view where they are neighbours."""
        if self.start >= 0:
            return self._neighbours(pool)
        room = room[:, : len(self.left)]
        torch.index_select(pool, 0, self.left, out=room[0])
        torch.index_select(pool, 0, self.right, out=room[1])
        return room

    def target(self, gradient: Tensor, room: Tensor, *, add: bool) -> Tensor:
        """Where their gradient [2, P, C] is made: in its place if it can be."""
        return room[:, : len(self.left)] if add or self.start < 0 else self._neighbours(gradient)

    def write(self, gradient: Tensor, d_ab: Tensor, *, add: bool) -> None:
        """To rows that have no other parent, so that to add is to read, too."""
        if self.start < 0:
            for rows, value in zip((self.left, self.right), d_ab, strict=True):
                gradient.index_copy_(0, rows, value.add_(gradient[rows]) if add else value)
        elif add:
            self._neighbours(gradient).add_(d_ab)

    def _neighbours(self, rows: Tensor) -> Tensor:
        return rows[self.start : self.start + 2 * len(self.left)].unflatten(0, (-1, 2)).transpose(0, 1)


def chunks(left: list[Tensor], right: list[Tensor], start: list[int], *, leaves: int, chunk: int) -> list[Pairs]:
    """In an order in which they can be made."""
    found, first = [], leaves
    for of_left, of_right, begin in zip(left, right, start, strict=True):
        for i in range(0, len(of_left), chunk):
            rows = slice(i, min(i + chunk, len(of_left)))
            results = slice(first + rows.start, first + rows.stop)
            found.append(Pairs(of_left[rows], of_right[rows], -1 if begin < 0 else begin + 2 * i, results))
        first += len(of_left)
    return found
