"""Samples by index: nothing is cut or copied until a batch is asked for.

A sample is `window` past steps and the `horizon` steps after them, read from one contiguous array that lives on the
device. Memory is that of the series, whatever the window.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data.panel import Panel


@dataclass(frozen=True)
class Batch:
    """Row i of every field is the same sample. Where a mask is False the value is 0 and means nothing."""

    x: Tensor  # [B, W, N, F]
    mask: Tensor  # [B, W, N, F]
    calendar: Tensor  # [B, W + H, 3], known for the future too
    y: Tensor  # [B, H, N, F]
    y_mask: Tensor  # [B, H, N, F]
    edges: Tensor | None = None  # [B, K, N, N], of the K newest steps of the window, where they are asked for

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a forecaster is called with: nothing of the future but its calendar."""
        known = self.x, self.mask, self.calendar
        return known if self.edges is None else (*known, self.edges)


@dataclass(frozen=True)
class Series:
    """A panel as tensors on one device."""

    values: Tensor  # [T, N, F] float64, 0 where not observed
    mask: Tensor  # [T, N, F] bool
    calendar: Tensor  # [T, 3]
    edges: Tensor | None = None  # [T, N, N] float32, the weight from u to v as it is known at each step

    @classmethod
    def of(cls, panel: Panel, calendar: np.ndarray, edges: np.ndarray | None = None) -> "Series":
        values = np.where(panel.mask, panel.values, 0.0)
        arrays = [values, panel.mask, calendar.astype(np.float32)] + ([] if edges is None else [edges])
        return cls(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))

    @property
    def bytes(self) -> int:
        return sum(part.nbytes for part in self._parts)

    @property
    def _parts(self) -> tuple[Tensor, ...]:
        known = self.values, self.mask, self.calendar
        return known if self.edges is None else (*known, self.edges)

    def near(self, device: torch.device, *, free_bytes: int | None = None) -> "Series":
        """On the device where at most half of its free memory goes for it; else where it is: batches are moved."""
        if device.type == "cuda" and free_bytes is None:
            free_bytes = torch.cuda.mem_get_info(device)[0]
        if free_bytes is not None and self.bytes > free_bytes / 2:
            return self
        return Series(*(part.to(device) for part in self._parts))


def observed_starts(series: Series, starts: range, *, window: int, horizon: int) -> Tensor:
    """Those of `starts` whose sample has at least one observed target; nothing can be learned from the others."""
    first = torch.tensor(list(starts), dtype=torch.long, device=series.values.device)
    seen = series.mask.flatten(1).any(dim=1).long().cumsum(0)
    seen = torch.cat([seen.new_zeros(1), seen])  # [T + 1], steps with an observation before step t
    return first[seen[first + window + horizon] > seen[first + window]]


class WindowSampler:
    """The samples of `series` that begin at `starts`, handed out on `target` (where the series is, by default).

    With `edge_steps` above 0 they have the edges of so many newest steps of the window. Raises ValueError where the
    series has none.
    """

    def __init__(
        self,
        series: Series,
        starts: Tensor,
        *,
        window: int,
        horizon: int,
        edge_steps: int = 0,
        target: torch.device | None = None,
    ) -> None:
        if edge_steps and series.edges is None:
            raise ValueError("the series has no edges, which this network reads; give Series.of the flows of each step")
        self.series, self.window, self.horizon = series, window, horizon
        device = series.values.device
        self.target = target or device
        self.starts = starts.to(device)  # [S]
        self._past = torch.arange(window, device=device)
        self._linked = torch.arange(window - edge_steps, window, device=device)
        self._future = torch.arange(window, window + horizon, device=device)
        self._all = torch.arange(window + horizon, device=device)

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: Tensor | slice) -> Batch:
        """The samples at these positions of `starts`."""
        start = self.starts[rows, None]  # [B, 1]
        past, future = start + self._past, start + self._future
        values, mask, calendar = self.series.values, self.series.mask, self.series.calendar
        parts = [values[past], mask[past], calendar[start + self._all], values[future], mask[future]]
        if len(self._linked) and self.series.edges is not None:
            parts.append(self.series.edges[start + self._linked])
        return Batch(*(part.to(self.target) for part in parts))

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """Every sample once, `size` at a time: oldest first, or in the given order [S]."""
        rows = torch.arange(len(self)) if order is None else order
        for chunk in rows.to(self.starts.device).split(size):
            yield self.take(chunk)
