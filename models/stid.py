"""STID: a perceptron that knows where and when.

Shao et al., Spatial-Temporal Identity: A Simple yet Effective Baseline for Multivariate Time Series Forecasting,
CIKM 2022, arXiv:2208.05233, section 3. The identities are those of the last input step, as in the paper.
"""

import torch
from torch import Tensor, nn

from models.filling import fill_forward


class Residual(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(self.dropout(self.inner(x).relu()))


class Stid(nn.Module):
    """`slots_per_day` steps make a day (1 where a step is a day or longer)."""

    def __init__(
        self,
        *,
        window: int,
        horizon: int,
        nodes: int,
        variables: int,
        slots_per_day: int,
        hidden: int = 32,
        layers: int = 3,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        self.horizon, self.slots_per_day = horizon, slots_per_day
        self.series = nn.Linear(window * variables, hidden)
        self.node = nn.Parameter(torch.empty(nodes, hidden))
        self.slot = nn.Parameter(torch.empty(slots_per_day, hidden))
        self.weekday = nn.Parameter(torch.empty(7, hidden))
        for identity in (self.node, self.slot, self.weekday):
            nn.init.xavier_uniform_(identity)
        self.layers = nn.Sequential(*(Residual(4 * hidden, dropout) for _ in range(layers)))
        self.output = nn.Linear(4 * hidden, horizon * variables)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        batch, window, nodes, _ = x.shape
        time_of_day, day_of_week, _ = calendar[:, window - 1].unbind(-1)  # [B] each
        slot = (
            time_of_day * self.slots_per_day + 1e-3
        ).long()  # the share is rounded; 1e-3 keeps it from the slot before
        parts = (
            self.series(fill_forward(x, mask).transpose(1, 2).flatten(2)),
            self.node.expand(batch, -1, -1),
            self.slot[slot][:, None].expand(-1, nodes, -1),
            self.weekday[day_of_week.long()][:, None].expand(-1, nodes, -1),
        )
        forecast = self.output(self.layers(torch.cat(parts, dim=-1)))  # [B, N, H * F]
        return forecast.unflatten(-1, (self.horizon, -1)).transpose(1, 2)  # [B, H, N, F]
