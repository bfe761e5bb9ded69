"""Operators that two rows of values meet in: [P, C] and [P, C] to [P, C].

Ong and Veličković, Learnable Commutative Monoids for Graph Neural Networks, LoG 2022, arXiv:2212.08541, section 2.5:
one GRU cell, shared by both orders, whose two outputs are averaged. It commutes as it stands; that it is associative is
learned (`models.lcm_penalties`). The exact monoids are for reductions that are known, and to test a fold against.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class Operator(nn.Module):
    """a [P, C] and b [P, C] to [P, C], row by row; `symmetric` where it commutes as it stands."""

    symmetric = False

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no forward(a, b)")

    def reset_parameters(self) -> None:
        """Nothing, where there are none."""

    def identity(self, width: int) -> Tensor:
        """What an empty set is at first, [C]; of an exact monoid, its neutral element."""
        return torch.zeros(width)


class BinaryGRU(Operator):
    """(g(a, b) + g(b, a)) / 2 of one GRU cell g(input, hidden state) that is `width` wide on both sides.

    Its parameters are those of `nn.GRUCell(width, width)`, in name, layout and initialisation. Every coordinate stays
    within max(1, |a|, |b|). It commutes bit for bit where equal products of equal shapes give equal bits, as on a CPU.
    """

    symmetric = True

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight_ih = nn.Parameter(torch.empty(3 * width, width))  # rows: reset, update, candidate
        self.weight_hh = nn.Parameter(torch.empty(3 * width, width))
        self.bias_ih = nn.Parameter(torch.empty(3 * width))
        self.bias_hh = nn.Parameter(torch.empty(3 * width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(self.width), 1 / math.sqrt(self.width))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        # a and b in products of their own: stacked, a row's bits could depend on which half it is in
        a_in, a_state = self._sides(a)
        b_in, b_state = self._sides(b)
        return (_cell(a_in, b_state, b) + _cell(b_in, a_state, a)) / 2

    def _sides(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What x is to the gates as the input and as the hidden state, [P, 3C] each."""
        return functional.linear(x, self.weight_ih, self.bias_ih), functional.linear(x, self.weight_hh, self.bias_hh)


def _cell(of_input: Tensor, of_state: Tensor, state: Tensor) -> Tensor:
    """The cell's next state [P, C], of 5 kernels."""
    width = state.shape[-1]
    gates = 2 * width
    r, z = (of_input[:, :gates] + of_state[:, :gates]).sigmoid().split(width, dim=-1)  # reset, update
    n = torch.addcmul(of_input[:, gates:], r, of_state[:, gates:]).tanh()
    return torch.lerp(n.to(state.dtype), state, z.to(state.dtype))  # (1 - z) n + z state; autocast lowers n and z


class Add(Operator):
    symmetric = True

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Maximum(Operator):
    symmetric = True

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    def identity(self, width: int) -> Tensor:
        return torch.full((width,), -math.inf)


class SecondMinimum(Operator):
    """The two smallest of what both sides hold; the first half of the C channels is the smallest, the other the next.

    The paper's snippet 2. `encode` makes such a pair of one value, `decode` reads the second minimum.
    """

    symmetric = True

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        (a_first, a_second), (b_first, b_second) = a.chunk(2, dim=-1), b.chunk(2, dim=-1)
        larger = torch.maximum(a_first, b_first)
        second = torch.minimum(larger, torch.minimum(a_second, b_second))
        return torch.cat([torch.minimum(a_first, b_first), second], dim=-1)

    def identity(self, width: int) -> Tensor:
        return torch.full((width,), math.inf)

    @staticmethod
    def encode(x: Tensor) -> Tensor:
        """[..., C] to [..., 2C]."""
        return torch.cat([x, torch.full_like(x, math.inf)], dim=-1)

    @staticmethod
    def decode(pair: Tensor) -> Tensor:
        """[..., 2C] to [..., C]; infinite where there were fewer than two values."""
        return pair.chunk(2, dim=-1)[1]
