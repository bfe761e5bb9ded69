"""The training loss of each window by itself: what private training takes gradients of."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.forecaster import Penalised, Scaled, penalty


class WindowLosses(nn.Module):
    """Windows to one loss each, [B]: a mean over the window's own observed targets and nothing else.

    `loss` compares forecast and target element by element, in the spread of each series or, `on_data_scale`, in the
    data's unit. What a network adds to the loss is of one window too: those that do are run a window at a time.
    """

    def __init__(self, network: Scaled, loss: Callable[..., Tensor], *, on_data_scale: bool = False) -> None:
        super().__init__()
        self.network, self.loss, self.on_data_scale = network, loss, on_data_scale
        self.is_penalised = any(isinstance(part, Penalised) for part in network.modules())

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor, y: Tensor, y_mask: Tensor, *edges: Tensor) -> Tensor:
        batch = x, mask, calendar, y, y_mask, *edges
        if self.is_penalised and len(x) > 1:
            return torch.cat([self.forward(*parts) for parts in zip(*(part.split(1) for part in batch), strict=True)])
        scaler = self.network.scaler
        forecast, target = self.network.scaled(x, mask, calendar, *edges).float(), scaler.scale(y)
        if self.on_data_scale:
            forecast, target = scaler.unscale(forecast), y
        each = self.loss(forecast, target, reduction="none") * y_mask
        errors = each.flatten(1).sum(1) / y_mask.flatten(1).sum(1).clamp(min=1)
        return (errors + penalty(self.network)).float()
