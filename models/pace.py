"""A view for series that outgrow their past: each window in its own steps, counted from its last value.

What a network sees is the distance from the window's last observed value, in mean absolute changes of that window; what
it puts out is read the same way. A count that has grown tenfold since training then looks as it did in training, and a
straight line is the same line wherever it is.
"""

import torch
from torch import Tensor, nn

from models.filling import fill_forward
from models.forecaster import edge_steps

LEAST_CHANGE = 1e-5  # of a window that stands still, in the scaler's unit


class Paced(nn.Module):
    """`network` on the pace of each series: scaled `x` [B, W, N, F] to the scaled forecast [B, H, N, F].

    Edges, where the network reads them, are handed on as they are.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.edge_steps = network, edge_steps(network)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor, *edges: Tensor) -> Tensor:
        filled = fill_forward(x, mask)  # [B, W, N, F]
        begun = mask.cummax(dim=1).values  # before the first observation there is nothing to be away from
        last = filled[:, -1:]
        known = begun[:, :-1].sum(1, keepdim=True).clamp(min=1)
        change = ((filled.diff(dim=1).abs() * begun[:, :-1]).sum(1, keepdim=True) / known).clamp(min=LEAST_CHANGE)
        seen = torch.where(begun, filled - last, 0.0) / change
        return last + self.network(seen, torch.ones_like(mask), calendar, *edges) * change  # [B, H, N, F]
