"""Heads on node embeddings: of pairs of nodes, and of single ones.

Pareja et al., EvolveGCN, arXiv:1902.10191, with the layers of the authors' released code: Linear, ReLU, Linear, and
[h_u ; h_v] for a pair, source first. Of the first layer's product each node's share is worked out once and then added
up for every pair that it is in, so that a pair costs an addition and not a matrix product.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 100_000  # pairs at once


class PairHead(nn.Module):
    """Logits of pairs from [h_u ; h_v ; pair features]; `symmetric` reads [h_u + h_v ; h_u h_v ; |h_u - h_v|] instead.

    `width` columns an embedding, `features` of a pair (0: none), `hidden` between the layers, `classes` out.
    """

    def __init__(
        self, width: int, hidden: int, classes: int = 2, *, features: int = 0, symmetric: bool = False
    ) -> None:
        super().__init__()
        self.width, self.features, self.symmetric = width, features, symmetric
        self.first = nn.Linear((3 if symmetric else 2) * width + features, hidden)
        self.last = nn.Linear(hidden, classes)

    def ends(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What `h` [n, width] brings to a pair as its source and as its target, for `meet`."""
        if self.symmetric:
            return h, h
        source, target = (self.first.weight[:, at : at + self.width] for at in (0, self.width))
        return functional.linear(h, source, self.first.bias), functional.linear(h, target)

    def meet(self, source: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        """Logits [..., classes] of ends that broadcast against each other, and pair features [..., F]."""
        if self.symmetric:
            both = torch.cat([source + target, source * target, (source - target).abs()], dim=-1)
            hidden = functional.linear(both, self.first.weight[:, : 3 * self.width], self.first.bias)
        else:
            hidden = source + target
        if features is not None:
            hidden = hidden + functional.linear(features, self.first.weight[:, -self.features :])
        return self.last(hidden.relu_())

    def forward(self, h: Tensor, pairs: Tensor, features: Tensor | None = None) -> Tensor:
        """`h` [n, width], `pairs` [2, M] positions in it, `features` [M, F]: logits [M, classes].

        Raises ValueError where pair features are missing, or are too many.
        """
        given = 0 if features is None else features.shape[1]
        if given != self.features:
            raise ValueError(f"the head reads {self.features} features of a pair but {given} were given")
        source, target = self.ends(h)
        chunks = pairs.split(CHUNK, dim=1)
        parts = [None] * len(chunks) if features is None else features.split(CHUNK)
        return torch.cat([self.meet(source[u], target[v], part) for (u, v), part in zip(chunks, parts, strict=True)])


class NodeHead(nn.Module):
    """Logits [n, classes] of nodes from their embeddings [n, width]."""

    def __init__(self, width: int, hidden: int, classes: int = 2) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, classes)

    def forward(self, h: Tensor) -> Tensor:
        return self.last(self.first(h).relu())
