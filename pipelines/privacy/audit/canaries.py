"""Window canaries: stand-alone samples that no data could have made, each one privacy unit of private training.

The context is noise and the target a coin for each value, so nothing but having seen a canary helps to forecast it.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.appended import blank
from data.windows import Batch
from models.forecaster import Scaler

Coins = npt.NDArray[np.bool_]
REACH = 2.0  # contexts lie so many standard deviations around the mean, where a network has learned to look


def flip_coins(count: int, *, seed: int) -> Coins:
    """Which of `count` canaries are in: fair coins, and others than those that made the canaries of this seed."""
    return np.random.default_rng([seed, 1]).random(count) < 0.5


def window_canaries(count: int, *, scaler: Scaler, calendar: Tensor, window: int, horizon: int, seed: int) -> Batch:
    """`count` samples for a series with this `calendar` [T, 3] and `scaler`, every value observed.

    Contexts are uniform within `REACH` standard deviations, at a random time of the calendar; every target lies one
    standard deviation above or below the last value of its context.
    """
    rng = np.random.default_rng([seed, 0])
    mean, std = scaler.mean.cpu(), scaler.std.cpu()  # [N, F]
    context = torch.from_numpy(rng.uniform(-REACH, REACH, (count, window, *mean.shape)))  # [m, W, N, F]
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], (count, horizon, *mean.shape)))  # [m, H, N, F]
    start = torch.from_numpy(rng.integers(0, len(calendar) - window - horizon + 1, count))
    times = start[:, None] + torch.arange(window + horizon)
    target = context[:, -1:] + sign
    return Batch(
        x=mean + std * context,
        mask=torch.ones_like(context, dtype=torch.bool),
        calendar=calendar.cpu()[times],
        y=mean + std * target,
        y_mask=torch.ones_like(target, dtype=torch.bool),
    )


def blanked(canaries: Batch, included: Coins) -> Batch:
    """All canaries, those that are out without a value or a target: the neighbouring data of "zero out".

    So the number of samples, which steps are divided by, does not tell who is in.
    """
    return blank(canaries, torch.from_numpy(~included))


def canary_hash(*parts: npt.NDArray | Tensor) -> str:
    """Of the canaries themselves, for the record made before training."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
