"""What each optimizer step of an epoch is about: which samples, and which nodes of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data.windows import Batch


@dataclass(frozen=True)
class Step:
    samples: Tensor  # [B], positions among the training samples
    nodes: Tensor | None = None  # None: all


Plan = Callable[[int], list[Step]]  # from a seed to the steps of one epoch


def shuffled(samples: int, size: int) -> Plan:
    """Every sample once, `size` of them a step, in random order."""

    def plan(seed: int) -> list[Step]:
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
        return [Step(chunk) for chunk in order.split(size)]

    return plan


def one_window_a_step(samples: int, nodes: int | None, size: int) -> Plan:
    """As ReGENN's paper: random groups of about `size` nodes, and for each the windows one by one, oldest first.

    `nodes` is None where they are no samples of their own and can't be parted.
    """

    def groups(seed: int) -> Iterator[Tensor | None]:
        if nodes is None:
            yield None
        else:
            order = torch.randperm(nodes, generator=torch.Generator().manual_seed(seed))
            yield from order.tensor_split(max(nodes // size, 1))

    def plan(seed: int) -> list[Step]:
        windows = torch.arange(samples).split(1)
        return [Step(window, group) for group in groups(seed) for window in windows]

    return plan


def only(batch: Batch, nodes: Tensor) -> Batch:
    """The part of a batch that is about these nodes."""
    x, mask, y, y_mask = (part[:, :, nodes] for part in (batch.x, batch.mask, batch.y, batch.y_mask))
    return Batch(x, mask, batch.calendar, y, y_mask)
