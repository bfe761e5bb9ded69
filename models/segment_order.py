"""In which order the rows of each segment are folded: as they come, at random, or by what they hold."""

import torch
from torch import Tensor


def random_order(segment: Tensor, orders: int, generator: torch.Generator | None = None) -> Tensor:
    """Rows to read, [E, orders]: of the sorted `segment` [E], each column mixes the rows within segments by itself."""
    mixed = torch.rand(len(segment), orders, device=segment.device, generator=generator).argsort(0)
    return _by_segment(mixed, segment)


def canonical_order(x: Tensor, segment: Tensor) -> Tensor:
    """Rows to read, [E, H]: those of x [E, H, C] of a segment by a fixed random projection, ties by a second one.

    Depends on what a segment holds and not on the order of it, but for rows that tie in both. Where two rows' keys
    cross, their places change at once and the result of a fold that isn't associative jumps.
    """
    first, second = _projections(x.shape[-1]).to(x.device, x.dtype)
    order = (x.detach() * second).sum(-1).argsort(dim=0, stable=True)  # [E, H]
    keys = (x.detach() * first).sum(-1).gather(0, order)
    return _by_segment(order.gather(0, keys.argsort(dim=0, stable=True)), segment)


def _by_segment(order: Tensor, segment: Tensor) -> Tensor:
    """The rows of `order` [E, H], back in their segments but there in that order."""
    return order.gather(0, segment[order].argsort(dim=0, stable=True))


def _projections(width: int) -> Tensor:
    """[2, C], the same in every process."""
    return torch.randn(2, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
