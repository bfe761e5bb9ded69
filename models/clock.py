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
