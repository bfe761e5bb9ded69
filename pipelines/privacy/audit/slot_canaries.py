"""Slot canaries: spikes in a copy of the series, so far apart that no window holds two of them.

They audit the promise about a slot, which is in many windows: a training whose epsilon is that of one window fails.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from data.windows import Batch, Series, WindowSampler

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
    apart, fits = 2 * (window + horizon), fitting(first=first, last=last, window=window, horizon=horizon)
    if count > fits:
        raise ValueError(f"{count} slots {apart} steps apart don't fit in {last - first} steps; take at most {fits}")
    rng = np.random.default_rng([seed, 0])
    spare = last - first - 1 - (count - 1) * apart
    slots = first + np.sort(rng.integers(0, spare + 1, count)) + apart * np.arange(count)
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], (count, *std.shape)))
    return SlotCanaries(slots, series.values[torch.from_numpy(slots)] + sign * HEIGHT * std)


def fitting(*, first: int, last: int, window: int, horizon: int) -> int:
    """How many slots of [first, last) may be so far apart."""
    return (last - first - 1) // (2 * (window + horizon)) + 1


def spiked(series: Series, canaries: SlotCanaries) -> Series:
    """The series with all spikes."""
    values = series.values.clone()
    values[torch.from_numpy(canaries.slots)] = canaries.values
    return replace(series, values=values)


def windows_with(canaries: SlotCanaries, starts: Tensor, *, window: int, horizon: int) -> Tensor:
    """Which samples [S] that begin at `starts` hold which canary [m, S]."""
    offset = torch.from_numpy(canaries.slots)[:, None] - starts[None]
    return (offset >= 0) & (offset < window + horizon)


def samples_with(
    series: Series, canaries: SlotCanaries, *, steps: int, window: int, horizon: int, stride: int = 1
) -> tuple[Batch, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The samples of the first `steps` of the series, spikes in it, that hold one; whose each is, and whether it is a
    target there: [S, ...], [S], [S]. A slot that is out is one whose samples are all blanked.

    Samples begin every `stride` steps as those that are trained on, so that a slot is in no more than is accounted for.
    """
    starts = torch.arange(0, steps - window - horizon + 1, stride)
    holds = windows_with(canaries, starts, window=window, horizon=horizon)
    rows = holds.any(dim=0).nonzero()[:, 0]
    owner = holds[:, rows].int().argmax(dim=0).numpy()
    is_target = canaries.slots[owner] >= (starts[rows] + window).numpy()
    sampler = WindowSampler(spiked(series, canaries), starts[rows], window=window, horizon=horizon)
    return sampler.take(slice(None)), owner, is_target
