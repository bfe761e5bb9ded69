"""DLinear: trend and remainder, one linear map each.

Zeng et al., Are Transformers Effective for Time Series Forecasting?, AAAI 2023, arXiv:2205.13504, section 4. The maps
are shared by all nodes and variables, as in the paper.
"""

from torch import Tensor, nn
from torch.nn import functional

from models.filling import fill_forward


class DLinear(nn.Module):
    """`kernel` is the length of the moving average; an even one is made odd so that it has a middle."""

    def __init__(self, *, window: int, horizon: int, kernel: int = 25) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.trend, self.remainder = nn.Linear(window, horizon), nn.Linear(window, horizon)
        for layer in (self.trend, self.remainder):
            nn.init.constant_(layer.weight, 1 / window)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        series = fill_forward(x, mask).movedim(1, -1)  # [B, N, F, W]
        padded = functional.pad(series.flatten(1, 2), (self.reach, self.reach), mode="replicate")
        trend = functional.avg_pool1d(padded, 2 * self.reach + 1, stride=1).view_as(series)
        forecast = self.trend(trend) + self.remainder(series - trend)  # [B, N, F, H]
        return forecast.movedim(-1, 1)  # [B, H, N, F]
