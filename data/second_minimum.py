"""Multisets of 8-bit integers and the second smallest of each, equal ones counted apart.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, section 3.1 and
appendix C. Differs from the paper: the smallest set has two numbers, since it does not say what the second of one is.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.segments import rows_of, shuffle_within

BITS = 8
SMALLEST = 2


@dataclass(frozen=True)
class Multisets:
    values: Tensor  # [E], 0 to 255, set after set
    ptr: Tensor  # [S + 1], rows of set s are ptr[s] to ptr[s + 1] - 1

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def index(self) -> Tensor:
        """The set of each number, [E]."""
        return torch.arange(len(self)).repeat_interleave(self.ptr.diff())

    def take(self, chosen: Tensor) -> "Multisets":
        rows, ptr = rows_of(self.ptr, chosen)
        return Multisets(self.values[rows], ptr)

    def shuffled(self, generator: torch.Generator) -> "Multisets":
        """The same sets, each in another order."""
        return Multisets(self.values[shuffle_within(self.index, generator)], self.ptr)


def draw_multisets(count: int, *, smallest: int, largest: int, seed: int) -> Multisets:
    """`count` sets of uniform numbers, of sizes uniform on `smallest` to `largest`. Raises ValueError below two."""
    if not SMALLEST <= smallest <= largest:
        raise ValueError(f"sizes {smallest} to {largest}: a second smallest needs {SMALLEST} numbers or more")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(smallest, largest + 1, (count,), generator=generator)
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    return Multisets(torch.randint(2**BITS, (int(ptr[-1]),), generator=generator), ptr)


def second_smallest(sets: Multisets) -> Tensor:
    """Of each set, [S]."""
    ordered = (sets.index * 2**BITS + sets.values).sort().values % 2**BITS  # set by set, ascending
    return ordered[sets.ptr[:-1] + 1]


def bits_of(numbers: Tensor) -> Tensor:
    """The bits of each number, the highest first: [...] to [..., 8] of 0.0 and 1.0."""
    places = torch.arange(BITS - 1, -1, -1)
    return ((numbers.unsqueeze(-1) >> places) & 1).float()


def numbers_of(bits: Tensor) -> Tensor:
    """The numbers whose bits are those above one half: [..., 8] to [...]."""
    places = torch.arange(BITS - 1, -1, -1)
    return ((bits > 0.5).long() << places).sum(-1)
