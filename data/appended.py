"""Samples of a series with others beside them that no series holds, and blanked ones."""

from dataclasses import replace

import torch
from torch import Tensor

from data.windows import Batch, WindowSampler

FIELDS = ("x", "mask", "calendar", "y", "y_mask")


def rows_of(batch: Batch, rows: Tensor) -> Batch:
    """These samples of a batch."""
    own = {name: getattr(batch, name)[rows] for name in FIELDS}
    return Batch(**own, edges=None if batch.edges is None else batch.edges[rows])


class Appended(WindowSampler):
    """The samples of `sampler`, numbered as there, and after them those of `extra`, which have no start of their own.

    Where the network reads edges, those of `extra` have none.
    """

    def __init__(self, sampler: WindowSampler, extra: Batch) -> None:
        self.sampler = sampler
        self.extra = replace(extra, **{name: getattr(extra, name).to(sampler.target) for name in FIELDS})
        self.target = sampler.target
        # -1: of no step of the series
        self.starts = torch.cat([sampler.starts, sampler.starts.new_full((len(extra.x),), -1)])

    def take(self, rows: Tensor | slice) -> Batch:
        wanted = torch.arange(len(self), device=self.starts.device)[rows]
        own = wanted < len(self.sampler)
        found = self.sampler.take(wanted[own])
        more = rows_of(self.extra, (wanted[~own] - len(self.sampler)).to(self.target))
        order = torch.cat([own.nonzero(), (~own).nonzero()]).flatten().argsort().to(self.target)
        both = {name: torch.cat([getattr(found, name), getattr(more, name)]) for name in FIELDS}
        edges = found.edges
        if edges is not None:
            edges = torch.cat([edges, edges.new_zeros(len(more.x), *edges.shape[1:])])
        return rows_of(Batch(**both, edges=edges), order)


def blank(batch: Batch, gone: Tensor) -> Batch:
    """A batch whose samples at `gone` [B] have no value and no target left; what is known beforehand stays."""
    kept = ~gone.to(batch.x.device)[:, None, None, None]
    return replace(batch, x=batch.x * kept, mask=batch.mask & kept, y=batch.y * kept, y_mask=batch.y_mask & kept)
