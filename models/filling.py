"""What stands where nothing was observed."""

import torch
from torch import Tensor


def fill_forward(x: Tensor, mask: Tensor) -> Tensor:
    """Each gap of `x` [B, W, N, F] takes the last value observed before it in its window, or 0 if there is none."""
    if _is_complete(mask):  # most data; the search for gaps would cost more than a linear model
        return x
    steps = torch.arange(x.shape[1], device=x.device)[:, None, None]
    last = torch.where(mask, steps, -1).cummax(dim=1).values  # [B, W, N, F], -1 before the first observation
    return torch.where(last >= 0, x.gather(1, last.clamp(min=0)), 0.0)


def last_observed(x: Tensor, mask: Tensor, *, otherwise: Tensor | float = 0.0) -> Tensor:
    """The newest observed value of each series, [B, 1, N, F]; `otherwise` [N, F] where the window has none."""
    return torch.where(mask.any(dim=1, keepdim=True), fill_forward(x, mask)[:, -1:], otherwise)


def _is_complete(mask: Tensor) -> bool:
    """Whether nothing is missing. Under vmap, where values can't be asked for, it is never said to be."""
    return not torch._C._functorch.is_functorch_wrapped_tensor(mask) and bool(mask.all())
