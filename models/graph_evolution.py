"""Graph soft evolution: a graph over variables that is learnt together with the forecast.

Spadon et al., Pay Attention to Evolution: Time Series Forecasting With Deep Graph-Evolution Learning, IEEE TPAMI 44(9),
2022, arXiv:2008.12833. A co-occurrence graph A [V, V] says how much of one variable is there while another one is; the
layer turns it into a hidden graph H, compares H's rows by their cosine C, and mixes the variables by the evolution
weights E = C * Wc + bc: row u says what variable u takes from every variable v, with a sign.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


def cooccurrence(values: Tensor, present: Tensor) -> Tensor:
    """How much of variable b is there while variable c is present: `values`, `present` [..., S, T, V] to [..., V, V].

    The diagonal keeps only what of a variable the others do not explain, and is never negative.
    """
    shared = torch.einsum("...stb,...stc->...bc", values, present.to(values.dtype))
    own = shared.diagonal(dim1=-2, dim2=-1)  # [..., V]
    alone = (2 * own - shared.sum(-1)).clamp(min=0)
    return shared.diagonal_scatter(alone, dim1=-2, dim2=-1)


def cooccurrence_graph(values: Tensor, mask: Tensor) -> Tensor:
    """The graph [V, V] of a training range, `values` and `mask` [S, T, V], in mass per sample and step.

    `mask` is True where a variable is present. With the mask of what was observed, a panel without gaps has the same
    graph whatever its values (every pair alike, no loops); `mask & (values > 0)` is the paper's meaning of presence and
    the choice for counts. A mass can't be negative, so a variable that is has its least value as zero; each step counts
    once. Both differ from the paper, where a step counts once for every window that has it.
    """
    floor = values.masked_fill(~mask, torch.inf).amin(dim=(0, 1)).clamp(max=0)  # [V]
    mass = torch.where(mask, values - floor, 0)
    return cooccurrence(mass, mask) / (len(values) * values.shape[1])


class TimeMap(nn.Module):
    """One linear map over time that all samples and variables share: [..., T, V] to [..., `outputs`, V]."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        nn.init.xavier_uniform_(self.weight)
        self.bias = nn.Parameter(torch.zeros(outputs, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        mapped = self.weight.T @ x
        return mapped if self.bias is None else mapped + self.bias


class Evolution(NamedTuple):
    """What a layer makes of a graph."""

    hidden: Tensor  # [V, V], H
    cosine: Tensor  # [V, V], C
    weights: Tensor  # [V, V], E


class GraphEvolution(nn.Module):
    """Mixes the variables of `x` [..., T, V] by weights that evolve from `graph` [V, V].

    With `steps` (then T) the layer also maps time, as the source layer of the network does. No gradient flows into the
    graph: what is learnt are the weights on it.
    """

    def __init__(
        self,
        variables: int,
        *,
        steps: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if variables < 2:
            raise ValueError(f"a graph needs at least 2 variables to relate but there is {variables}")
        square = (variables, variables)
        self.graph_weight = nn.Parameter(torch.empty(square))  # Wa
        self.cosine_weight = nn.Parameter(torch.empty(square))  # Wc
        nn.init.xavier_uniform_(self.graph_weight)
        nn.init.xavier_uniform_(self.cosine_weight)
        self.graph_bias = nn.Parameter(torch.zeros(variables, 1)) if bias else None  # ba
        self.cosine_bias = nn.Parameter(torch.zeros(square)) if bias else None  # bc
        self.time = TimeMap(steps, steps, bias=bias) if steps else None
        self.activation = activation or nn.Identity()
        # SELU keeps mean and variance only together with its own dropout
        self.dropout = nn.AlphaDropout(dropout) if isinstance(activation, nn.SELU) else nn.Dropout(dropout)

    def evolve(self, graph: Tensor) -> Evolution:
        hidden = graph.detach() @ self.graph_weight
        if self.graph_bias is not None:
            hidden = hidden + self.graph_bias
        rows = functional.normalize(hidden, dim=-1, eps=1e-12)
        cosine = rows @ rows.T
        weights = cosine * self.cosine_weight
        if self.cosine_bias is not None:
            weights = weights + self.cosine_bias
        return Evolution(hidden, cosine, weights)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        mixed = x @ self.evolve(graph).weights.T
        mixed = self.activation(self.dropout(mixed))
        return mixed if self.time is None else self.time(mixed)
