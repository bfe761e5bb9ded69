"""Rows that belong together: how a sorted index tells where segments begin."""

import torch
from torch import Tensor


def pointer(index: Tensor, dim_size: int | None) -> Tensor:
    """Where each segment begins, and the end, [S + 1], of the sorted `index` [E] of the segment of each row.

    What the host must know comes to it in one transfer. Raises ValueError where `index` is not sorted, or names a
    segment that `dim_size` has not.
    """
    if not len(index):
        return index.new_zeros((dim_size or 0) + 1)
    sorted_, last = torch.stack([(index.diff() >= 0).all().to(index.dtype), index[-1]]).tolist()
    if not sorted_:
        raise ValueError(
            "index is not sorted; sort the edges by their target once, as Data.sort does; LCM can with allow_unsorted"
        )
    if dim_size is not None and last >= dim_size:
        raise ValueError(f"index names segment {last} but dim_size is {dim_size}")
    segments = torch.arange((last + 1 if dim_size is None else dim_size) + 1, device=index.device)
    return torch.searchsorted(index, segments)
