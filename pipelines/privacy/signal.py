"""How much of a released series is signal: its weight in a loss.

A release is the true count and noise of a known variance. A Gaussian likelihood weighs an error by 1 / (variance of the
forecast's own error + variance of the noise). The first is not known before training; taken to be in proportion to what
varies in the true series, the weight of a series in its own spread is the share of its variance that is not noise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST = 0.01  # a series of noise alone still has a say, so that a loss is never empty


def signal_shares(std: Tensor, noise_variance: Sequence[float]) -> Tensor:
    """Weights [N, F] with mean 1 of series with standard deviation `std` [N, F], noise of each variable included."""
    noise = torch.tensor(noise_variance, dtype=std.dtype, device=std.device)  # [F]
    shares = (1 - noise / std.square()).clamp(min=LEAST)
    return (shares / shares.mean()).float()
