"""Which windows a private step is about: drawn as the accounting takes for granted, never shuffled into batches.

A shuffled epoch shows every window once for certain, which no step of Poisson sampling does; to account for the one as
the other would be a wrong claim.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from pipelines.privacy.randomness import Randomness


class Sampler(Protocol):
    """Draws the windows of one step, positions among `windows`; `expected` is how many that are on average."""

    @property
    def kind(self) -> Literal["poisson", "tiling"]: ...

    @property
    def windows(self) -> int: ...

    @property
    def sample_rate(self) -> float: ...

    @property
    def expected(self) -> float: ...

    def draw(self, randomness: Randomness) -> Tensor: ...


@dataclass(frozen=True)
class PoissonSampler:
    """Every window by itself, with chance `sample_rate`; a draw may be empty."""

    windows: int
    sample_rate: float
    kind: Literal["poisson"] = "poisson"

    @property
    def expected(self) -> float:
        return self.windows * self.sample_rate

    def draw(self, randomness: Randomness) -> Tensor:
        return (randomness.uniform(self.windows) < self.sample_rate).nonzero()[:, 0]


@dataclass(frozen=True)
class TilingSampler:
    """Disjoint windows of `span` slots from an offset drawn anew in every step, each with chance `sample_rate`.

    A slot is in at most one of them, so that it weighs no more than one window. Windows start at every slot.
    """

    windows: int
    sample_rate: float
    span: int
    kind: Literal["tiling"] = "tiling"

    @property
    def expected(self) -> float:
        """Over the offsets too: which one was drawn is no secret, but the divisor must be a constant."""
        return self.windows / self.span * self.sample_rate

    def draw(self, randomness: Randomness) -> Tensor:
        offset = int(randomness.uniform(1) * self.span)
        tiles = torch.arange(offset, self.windows, self.span)
        return tiles[randomness.uniform(len(tiles)) < self.sample_rate]


def make_sampler(kind: Literal["poisson", "tiling"], *, windows: int, batch_size: int, span: int) -> Sampler:
    """One whose draws are `batch_size` windows on average. Raises ValueError where there are not so many."""
    if batch_size > windows:
        raise ValueError(f"a step of {batch_size} windows can't be drawn from {windows}")
    if kind == "poisson":
        return PoissonSampler(windows, batch_size / windows)
    if batch_size * span > windows:
        raise ValueError(
            f"{windows} windows of {span} slots make about {windows / span:.0f} that are disjoint, which is less than "
            f"a step of {batch_size}"
        )
    return TilingSampler(windows, batch_size * span / windows, span)
