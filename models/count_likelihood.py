"""How likely counts are: log-probabilities under three laws, each told the logarithm of its rate.

They are worked out in double precision: lgamma of a large count has more digits than float32 keeps. All arguments
broadcast; `y` is at least 0. Of values that are no whole numbers they are the usual continuation.
"""

import torch
from torch import Tensor
from torch.nn import functional

LEAST_CONCENTRATION = -20.0  # its log: all mass on zero, and below it gradients are no numbers any more
LARGEST_CONCENTRATION = 7.0  # from there on a Poisson law, and float32 loses the difference of two lgamma


def poisson(y: Tensor, log_rate: Tensor) -> Tensor:
    y, log_rate = y.double(), log_rate.double()
    return y * log_rate - log_rate.exp() - torch.lgamma(y + 1)


def negative_binomial(y: Tensor, log_mean: Tensor, log_concentration: Tensor) -> Tensor:
    """With variance mean + mean^2 / concentration."""
    y, log_mean, log_concentration = y.double(), log_mean.double(), log_concentration.double()
    log_r = log_concentration.clamp(LEAST_CONCENTRATION, LARGEST_CONCENTRATION)
    r, log_both = log_r.exp(), torch.logaddexp(log_r, log_mean)
    ways = torch.lgamma(y + r) - torch.lgamma(r) - torch.lgamma(y + 1)
    return ways + r * (log_r - log_both) + y * (log_mean - log_both)


def zero_inflated(y: Tensor, log_rate: Tensor, zero_logit: Tensor) -> Tensor:
    """A Poisson law that is overruled by a zero with probability sigmoid(`zero_logit`) (Lambert 1992)."""
    zero_logit = zero_logit.double()
    counted = functional.logsigmoid(-zero_logit) + poisson(y, log_rate)
    return torch.where(y == 0, torch.logaddexp(functional.logsigmoid(zero_logit), counted), counted)
