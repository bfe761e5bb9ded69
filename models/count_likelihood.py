"""How likely counts are: log-probabilities under three laws, each told the logarithm of its rate.

All arguments broadcast; `y` is at least 0. Of values that are no whole numbers they are the usual continuation.
"""

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_CONCENTRATION = 7.0  # its log: from there on a Poisson law, and float32 loses the difference of two lgamma


def poisson(y: Tensor, log_rate: Tensor) -> Tensor:
    return y * log_rate - log_rate.exp() - torch.lgamma(y + 1)


def negative_binomial(y: Tensor, log_mean: Tensor, log_concentration: Tensor) -> Tensor:
    """With variance mean + mean^2 / concentration."""
    log_r = log_concentration.clamp(max=LARGEST_CONCENTRATION)
    r, log_both = log_r.exp(), torch.logaddexp(log_r, log_mean)
    ways = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
    return ways + r * (log_r - log_both) + y * (log_mean - log_both)


def zero_inflated(y: Tensor, log_rate: Tensor, zero_logit: Tensor) -> Tensor:
    """A Poisson law that is overruled by a zero with probability sigmoid(`zero_logit`) (Lambert 1992)."""
    counted = functional.logsigmoid(-zero_logit) + poisson(y, log_rate)
    return torch.where(y == 0, torch.logaddexp(functional.logsigmoid(zero_logit), counted), counted)
