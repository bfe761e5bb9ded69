"""The honest yardsticks that learn nothing, or nothing but a line."""

import torch
from torch import Tensor, nn

from models.clock import CYCLIC_WIDTH, cyclic
from models.filling import fill_forward, last_observed


class Naive(nn.Module):
    """Tomorrow is like now: the last observed value, held over the horizon.

    `otherwise` [N, F], such as the training mean, stands in for a series of which the window holds no observation.
    """

    def __init__(self, horizon: int, *, otherwise: Tensor | float = 0.0) -> None:
        super().__init__()
        self.horizon, self.otherwise = horizon, otherwise

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        return last_observed(x, mask, otherwise=self.otherwise).expand(-1, self.horizon, -1, -1)  # [B, H, N, F]


class Linear(nn.Module):
    """What moved goes on moving: the line through the last two observed values of the window, continued.

    The slope is per step, and a gap counts: the line runs on from the step of the last value. A series with a single
    observation is held at it; `otherwise` [N, F] stands in where there is none.
    """

    def __init__(self, horizon: int, *, otherwise: Tensor | float = 0.0) -> None:
        super().__init__()
        self.horizon, self.otherwise = horizon, otherwise

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        steps = torch.arange(x.shape[1], device=x.device)[:, None, None]  # [W, 1, 1]
        newest, when = last_observed(x, mask, otherwise=self.otherwise), _last_step(steps, mask)
        earlier = mask & (steps < when)
        previous, before = last_observed(x, earlier), _last_step(steps, earlier)
        slope = torch.where(before >= 0, (newest - previous) / (when - before).clamp(min=1), 0.0)  # [B, 1, N, F]
        ahead = steps[-1] - when + torch.arange(1, self.horizon + 1, device=x.device)[:, None, None]
        return newest + slope * ahead  # [B, H, N, F]


def _last_step(steps: Tensor, mask: Tensor) -> Tensor:
    """Where in the window each series was last observed, [B, 1, N, F]; -1 where it was not."""
    return torch.where(mask, steps, -1).amax(dim=1, keepdim=True)


class SeasonalNaive(nn.Module):
    """The newest observed value of the same phase: `period` steps before the target, or 2, 3, ... periods.

    Needs a window of at least one period. Where no such value was observed, the last observed value stands in, and
    `otherwise` [N, F] where there is none at all.
    """

    def __init__(self, horizon: int, period: int, *, otherwise: Tensor | float = 0.0) -> None:
        super().__init__()
        self.horizon, self.period, self.otherwise = horizon, period, otherwise

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        window = x.shape[1]
        if window < self.period:
            raise ValueError(f"a season of {self.period} steps needs a window as long, not {window}")
        forecast = last_observed(x, mask, otherwise=self.otherwise).repeat(1, self.horizon, 1, 1)  # [B, H, N, F]
        for lead in range(self.horizon):
            phase = slice((window + lead) % self.period, window, self.period)
            seen = mask[:, phase]
            value = last_observed(x[:, phase], seen)[:, 0]
            forecast[:, lead] = torch.where(seen.any(dim=1), value, forecast[:, lead])
        return forecast


class HistoricalMean(nn.Module):
    """What each series was on average at this time of this day of the week, in the training range.

    A slot that was never observed takes the mean of the series' other slots. Slots go by the clock on the wall.
    """

    def __init__(self, slots_per_day: int, nodes: int, variables: int) -> None:
        super().__init__()
        self.slots_per_day = slots_per_day
        self.register_buffer("mean", torch.zeros(7 * slots_per_day, nodes, variables, dtype=torch.float64))

    mean: Tensor

    def fit(self, values: Tensor, mask: Tensor, calendar: Tensor) -> "HistoricalMean":
        """From `values` and `mask` [T, N, F] and their `calendar` [T, 3]."""
        slot, seen = self.slot(calendar), mask.double()
        total = torch.zeros_like(self.mean).index_add(0, slot, values.double() * seen)
        count = torch.zeros_like(self.mean).index_add(0, slot, seen)
        overall = total.sum(0) / count.sum(0).clamp(min=1)
        self.mean.copy_(torch.where(count > 0, total / count.clamp(min=1), overall))
        return self

    def slot(self, calendar: Tensor) -> Tensor:
        time_of_day, day_of_week, _ = calendar.double().unbind(-1)
        within = (time_of_day * self.slots_per_day + 1e-3).floor()  # calendars are float32: 1/3 of a day is less
        return (day_of_week * self.slots_per_day + within).long()

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        return self.mean[self.slot(calendar[:, x.shape[1] :])]  # [B, H, N, F]


class Ridge(nn.Module):
    """Penalised least squares from a window and the time of the target to the change from the last value.

    Each node reads its own window (`joint` False), or all windows at once (`joint` True). Works on scaled values.
    `weight` is found in closed form (pipelines.ridge): [N, I, H * F], or [1, I, H * N * F] when joint.
    """

    def __init__(self, *, window: int, horizon: int, nodes: int, variables: int, joint: bool) -> None:
        super().__init__()
        self.joint = joint
        self.shape = (horizon, nodes, variables)
        groups, series = (1, nodes * variables) if joint else (nodes, variables)
        self.register_buffer("weight", torch.zeros(groups, window * series + CYCLIC_WIDTH + 1, horizon * series))

    weight: Tensor

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        change = torch.einsum("bgi,gio->bgo", self.inputs(x, mask, calendar), self.weight)
        return last_observed(x, mask) + self._apart(change)

    def inputs(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        """[B, G, I]: changes from the last value, the time of the first target, and 1; G groups are fitted apart."""
        filled = fill_forward(x, mask)
        lags = filled - filled[:, -1:]  # [B, W, N, F]; the last step is 0 and harmless
        lags = lags.flatten(1)[:, None] if self.joint else lags.transpose(1, 2).flatten(2)
        time = cyclic(calendar[:, x.shape[1]])[:, None].expand(-1, lags.shape[1], -1)
        return torch.cat([lags, time, torch.ones_like(time[..., :1])], dim=-1)

    def together(self, targets: Tensor) -> Tensor:
        """[B, H, N, F] -> [B, G, O], the form of what the weights yield."""
        return targets.flatten(1)[:, None] if self.joint else targets.transpose(1, 2).flatten(2)

    def _apart(self, outputs: Tensor) -> Tensor:
        horizon, nodes, variables = self.shape
        if self.joint:
            return outputs.view(-1, horizon, nodes, variables)
        return outputs.view(-1, nodes, horizon, variables).transpose(1, 2)
