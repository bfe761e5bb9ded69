"""Slot canaries: spikes in real time slots, so far apart that no window holds two of them.

They audit the promise about a slot, which is in many windows: a training whose epsilon is that of one window fails.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.windows import Series
from pipelines.privacy.audit.canaries import Coins

HEIGHT = 3.0  # standard deviations up or down


@dataclass(frozen=True)
class SlotCanaries:
    """Of m slots, what they hold if their canary is in."""

    slots: npt.NDArray[np.int64]  # [m], ascending
    values: Tensor  # [m, N, F]


def slot_canaries(
    count: int, series: Series, *, std: Tensor, first: int, last: int, window: int, horizon: int, seed: int
) -> SlotCanaries:
    """Spikes of `HEIGHT` x `std` [N, F], up or down by node, in `count` slots of [first, last).

    Slots are at least twice a whole sample (window + horizon) apart. Raises ValueError where so many don't fit.
    """
    apart = 2 * (window + horizon)
    fits = (last - first - 1) // apart + 1
    if count > fits:
        raise ValueError(f"{count} slots {apart} steps apart don't fit in {last - first} steps; take at most {fits}")
    rng = np.random.default_rng([seed, 0])
    spare = last - first - 1 - (count - 1) * apart
    slots = first + np.sort(rng.integers(0, spare + 1, count)) + apart * np.arange(count)
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], (count, *std.shape)))
    return SlotCanaries(slots, series.values[torch.from_numpy(slots)] + sign * HEIGHT * std)


def spiked(series: Series, canaries: SlotCanaries, included: Coins) -> Series:
    """The series with the canaries that are in."""
    values = series.values.clone()
    rows = torch.from_numpy(canaries.slots[included])
    values[rows] = canaries.values[torch.from_numpy(np.flatnonzero(included))]
    return replace(series, values=values)


def windows_with(canaries: SlotCanaries, starts: Tensor, *, window: int, horizon: int) -> Tensor:
    """Which samples [S] that begin at `starts` hold which canary [m, S]."""
    offset = torch.from_numpy(canaries.slots)[:, None] - starts[None]
    return (offset >= 0) & (offset < window + horizon)
