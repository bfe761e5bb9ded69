"""What every forecaster is: a window in, a horizon out.

A network works on scaled values; `Scaled` puts the scaler around it, so that what is trained, saved and served maps
raw observations to raw forecasts and nothing about scaling can be forgotten.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Forecaster(Protocol):
    """`x` and `mask` [B, W, N, F], `calendar` [B, W + H, 3] -> forecast [B, H, N, F], in the units of `x`.

    `mask` is True where observed; elsewhere `x` is 0 and means nothing. The columns of `calendar` are the share of the
    day gone, the weekday (Monday is 0) and whether it is a holiday. A static graph, where a model has one, is the
    model's own; a network with the attribute `edge_steps` above 0 is called with a fourth argument, the edges of so
    many newest steps of the window [B, edge_steps, N, N].
    """

    def __call__(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor: ...


def edge_steps(network: nn.Module) -> int:
    """Of how many newest steps a network reads the edges; 0 for all that have no dynamic graph."""
    return getattr(network, "edge_steps", 0)


@runtime_checkable
class Penalised(Protocol):
    """A module that adds to the training loss, beside the error of the forecast."""

    def penalty(self) -> Tensor:
        """Of the last forward pass, if that was in training; else 0."""
        ...


def penalty(network: nn.Module) -> Tensor | float:
    """The sum over the modules of a network that have one."""
    return sum(module.penalty() for module in network.modules() if isinstance(module, Penalised))


class Scaler(nn.Module):
    """Location and spread of each series, fitted on the training range and saved with the weights.

    `fit` takes mean and standard deviation; `fit_maximum` zero and the largest value, for networks that must know where
    zero is.

    In double precision: a meter that reads a billion and moves by ten is constant in single precision. What a network
    sees is scaled, and single.
    """

    def __init__(self, nodes: int, variables: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(nodes, variables, dtype=torch.float64))  # [N, F]
        self.register_buffer("std", torch.ones(nodes, variables, dtype=torch.float64))  # [N, F]

    mean: Tensor
    std: Tensor

    def fit(self, values: Tensor, mask: Tensor) -> "Scaler":
        """From `values` and `mask` [T, N, F]. A constant series keeps its unit; an unobserved one is left alone."""
        count = mask.sum(0).clamp(min=1)  # [N, F]
        exact = values.double()
        mean = (exact * mask).sum(0) / count
        variance = ((exact - mean) ** 2 * mask).sum(0) / count
        self.mean.copy_(mean)
        std = variance.sqrt()
        self.std.copy_(torch.where(std > 1e-9 * mean.abs().clamp(min=1e-6), std, torch.ones_like(std)))
        return self

    def fit_maximum(self, values: Tensor, mask: Tensor) -> "Scaler":
        """The largest of `values` [T, N, F] where `mask`, at least 1, so that zero stays zero."""
        observed = torch.where(mask, values.double(), 0.0)
        self.mean.zero_()
        self.std.copy_(observed.amax(0).clamp(min=1))
        return self

    def of(self, nodes: Tensor) -> "Scaler":
        """The same for these nodes alone."""
        mean, std = self.mean[nodes], self.std[nodes]
        part = Scaler(*mean.shape).to(mean.device)
        part.mean, part.std = mean, std
        return part

    def scale(self, values: Tensor) -> Tensor:
        return ((values - self.mean) / self.std).float()

    def unscale(self, values: Tensor) -> Tensor:
        return values * self.std + self.mean


class Scaled(nn.Module):
    """A network with its scaler: raw observations in, raw forecasts out."""

    def __init__(self, network: nn.Module, scaler: Scaler) -> None:
        super().__init__()
        self.network, self.scaler = network, scaler
        self.edge_steps = edge_steps(network)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor, *edges: Tensor) -> Tensor:
        return self.scaler.unscale(self.scaled(x, mask, calendar, *edges))

    def scaled(self, x: Tensor, mask: Tensor, calendar: Tensor, *edges: Tensor) -> Tensor:
        """The forecast in standard deviations, which is what a loss compares."""
        return self.network(self.scaler.scale(x) * mask, mask, calendar, *edges)  # [B, H, N, F]
