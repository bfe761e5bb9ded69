"""Rows that belong together: the segments of a ragged batch."""

import torch
from torch import Tensor


def rows_of(ptr: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the `chosen` segments, one after the other, and the `ptr` of the batch that they make."""
    sizes = ptr.diff()[chosen]
    begins = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    shift = (ptr[:-1][chosen] - begins[:-1]).repeat_interleave(sizes)
    return torch.arange(len(shift)) + shift, begins


def shuffle_within(index: Tensor, generator: torch.Generator) -> Tensor:
    """An order of the rows that mixes each segment by itself; `index` [E] is ascending, and stays as it is."""
    mixed = torch.randperm(len(index), generator=generator)
    return mixed[index[mixed].argsort(stable=True)]
