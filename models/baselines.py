"""The honest yardsticks that learn nothing, or nothing but a line."""

import torch
from torch import Tensor, nn

from models.clock import CYCLIC_WIDTH, cyclic
from models.filling import fill_forward, last_observed


class Naive(nn.Module):
    """Tomorrow is like now: the last observed value, held over the horizon."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        return last_observed(x, mask).expand(-1, self.horizon, -1, -1)  # [B, H, N, F]


class SeasonalNaive(nn.Module):
    """The newest observed value of the same phase: `period` steps before the target, or 2, 3, ... periods.

    Needs a window of at least one period. Where no such value was observed, the last observed value stands in.
    """

    def __init__(self, horizon: int, period: int) -> None:
        super().__init__()
        self.horizon, self.period = horizon, period

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        window = x.shape[1]
        if window < self.period:
            raise ValueError(f"a season of {self.period} steps needs a window as long, not {window}")
        forecast = last_observed(x, mask).repeat(1, self.horizon, 1, 1)  # [B, H, N, F]
        for lead in range(self.horizon):
            phase = slice((window + lead) % self.period, window, self.period)
            seen = mask[:, phase]
            value = last_observed(x[:, phase], seen)[:, 0]
            forecast[:, lead] = torch.where(seen.any(dim=1), value, forecast[:, lead])
        return forecast


class Ridge(nn.Module):
    """Penalised least squares, one map a node: its own window and the time of the target to the change from the last value.

    Works on scaled values. `weight` [N, I, H * F] is found in closed form by `fit_ridge`.
    """

    def __init__(self, window: int, horizon: int, nodes: int, variables: int) -> None:
        super().__init__()
        self.horizon = horizon
        inputs = window * variables + CYCLIC_WIDTH + 1
        self.register_buffer("weight", torch.zeros(nodes, inputs, horizon * variables))

    weight: Tensor

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        change = torch.einsum("bni,nio->bno", ridge_inputs(x, mask, calendar), self.weight)  # [B, N, H * F]
        change = change.unflatten(-1, (self.horizon, -1)).transpose(1, 2)  # [B, H, N, F]
        return last_observed(x, mask) + change


def ridge_inputs(x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
    """[B, N, W * F + 6]: changes from the last value, the time of the first target, and 1."""
    filled = fill_forward(x, mask)
    lags = (filled - filled[:, -1:]).transpose(1, 2).flatten(2)  # [B, N, W * F]; the last F are 0 and harmless
    time = cyclic(calendar[:, x.shape[1]])[:, None].expand(-1, x.shape[2], -1)
    return torch.cat([lags, time, torch.ones_like(time[..., :1])], dim=-1)
