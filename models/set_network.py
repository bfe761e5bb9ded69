"""A network that answers for a set of numbers with the bits of one number.

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, appendix C. The
paper lists an embedding a bit without saying how the eight become one; here they are summed.
"""

import torch
from torch import Tensor, nn


class BitEmbedding(nn.Module):
    """The sum of one learned vector a bit, another for 0 than for 1: bits [..., K] to [..., C]."""

    def __init__(self, bits: int, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(2, bits, width))

    def forward(self, bits: Tensor) -> Tensor:
        zero, one = self.vectors
        return zero.sum(0) + bits @ (one - zero)


class SetNetwork(nn.Module):
    """Embedding, encoder, `aggregation` (a PyG `Aggregation` of `width` channels to as many), decoder."""

    def __init__(self, aggregation: nn.Module, *, bits: int, width: int) -> None:
        super().__init__()
        self.embedding = BitEmbedding(bits, width)
        self.encoder = nn.Sequential(nn.Linear(width, width), nn.GELU())
        self.aggregation = aggregation
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, bits))

    def forward(self, bits: Tensor, index: Tensor, sets: int) -> Tensor:
        """Bits [E, K] of numbers sorted by their set, `index` [E], to the logits of the answer's bits [S, K]."""
        encoded = self.encoder(self.embedding(bits))  # [E, C]
        return self.decoder(self.aggregation(encoded, index=index, dim_size=sets))
