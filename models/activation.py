"""Which activation ends a network: chosen from the range of the data, and watched for outputs that can't learn."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

ACTIVATIONS = (
    "CELU",
    "ELU",
    "GELU",
    "Hardshrink",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "PReLU",
    "ReLU",
    "ReLU6",
    "RReLU",
    "SELU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
)


def activation(name: str) -> nn.Module:
    """The activation that torch calls `name`, one of `ACTIVATIONS`."""
    if name not in ACTIVATIONS:
        raise ValueError(f"there is no activation {name!r}; choose one of {', '.join(ACTIVATIONS)}")
    return getattr(nn, name)()


def output_activation(values: Tensor, mask: Tensor) -> Literal["ReLU", "Identity"]:
    """`ReLU` where no observed value of the training range is negative, else `Identity`.

    Of a network on scaled values, the activation must count from what the data's zero is there. A bounded activation
    is never chosen, for a growing series leaves every bound behind.
    """
    return "Identity" if bool((values[mask] < 0).any()) else "ReLU"


def dead_outputs(output: Callable[[Tensor], Tensor], before: Tensor) -> Tensor:
    """Where an output passes no gradient for any window: `before` the activation [B, ...] to bool [...].

    Where all is True the network can't learn at all: a ReLU that only sees negative numbers. Another seed, `Identity`
    or `LeakyReLU` mends it.
    """
    with torch.enable_grad():
        leaf = before.detach().requires_grad_()
        (slope,) = torch.autograd.grad(output(leaf).sum(), leaf)
    return (slope == 0).all(dim=0)
