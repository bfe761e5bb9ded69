"""The calendar as inputs of a network."""

import math

import torch
from torch import Tensor

CYCLIC_WIDTH = 5


def cyclic(calendar: Tensor) -> Tensor:
    """[..., 3] -> [..., 5]: sine and cosine of the time of day and of the time of week, and the holiday flag."""
    time_of_day, day_of_week, holiday = calendar.unbind(-1)
    day = 2 * math.pi * time_of_day
    week = 2 * math.pi * (day_of_week + time_of_day) / 7
    return torch.stack([day.sin(), day.cos(), week.sin(), week.cos(), holiday], dim=-1)


def harmonics(calendar: Tensor, orders: int) -> Tensor:
    """[..., 3] -> [..., 4 * orders + 2]: day and week as waves of growing frequency, holiday, week end.

    The first wave of a day can't tell a morning peak from an evening one; the fourth can.
    """
    time_of_day, day_of_week, holiday = calendar.unbind(-1)
    day = 2 * math.pi * time_of_day
    week = 2 * math.pi * (day_of_week + time_of_day) / 7
    waves = [
        wave(order * phase)
        for order in range(1, orders + 1)
        for phase in (day, week)
        for wave in (torch.sin, torch.cos)
    ]
    return torch.stack([*waves, holiday, (day_of_week >= 5).to(holiday)], dim=-1)
