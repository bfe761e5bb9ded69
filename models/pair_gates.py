"""The element-wise half of a symmetrised GRU cell on pairs of rows: a ⊕ b = (g(a, b) + g(b, a)) / 2.

Both cells share their products. With s = a + b and d = a - b the gates of the cell whose state is a are
sigmoid(u + v) and those of the one whose state is b are sigmoid(u - v), where u is linear in s and v in d: half the
arithmetic of a product for each cell, and to swap a and b swaps the two cells to the last bit.

Throughout, C channels and P pairs: `ab` [2, P, C] the two rows, `uv` [2, P, 2C] the reset and update gates before
their sigmoid, `nh` [2, P, 2C] what a row gives to the candidate as input and as state. Index 0 of gates and candidates
is of the cell whose state is a, and whose input therefore is b.
"""

import importlib.util
import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

Parts = tuple[Tensor, Tensor, Tensor]


def meet(ab: Tensor, uv: Tensor, nh: Tensor) -> Tensor:
    """a ⊕ b, [P, C]."""
    _, update, candidate = _cells(uv, nh)
    return torch.lerp(candidate, ab, update).sum(dim=0) / 2


def meet_backward(grad: Tensor, ab: Tensor, uv: Tensor, nh: Tensor) -> Parts:
    """The gradients of `ab`, `uv` and `nh` from that of a ⊕ b [P, C]; nothing is kept from the forward."""
    reset, update, candidate = _cells(uv, nh)
    half, hidden = grad / 2, nh.chunk(2, dim=-1)[1]
    d_candidate = half * (1 - update) * (1 - candidate * candidate)
    d_update = half * (ab - candidate) * update * (1 - update)
    d_reset = d_candidate * hidden * reset * (1 - reset)
    d_gates = torch.cat([d_reset, d_update], dim=-1)
    d_uv = torch.stack([d_gates[0] + d_gates[1], d_gates[0] - d_gates[1]])
    return half * update, d_uv, torch.cat([d_candidate.flip(0), d_candidate * reset], dim=-1)


def _cells(uv: Tensor, nh: Tensor) -> Parts:
    """Reset, update and candidate of both cells, [2, P, C] each."""
    reset, update = torch.stack([uv[0] + uv[1], uv[0] - uv[1]]).sigmoid().chunk(2, dim=-1)
    given, hidden = nh.chunk(2, dim=-1)
    return reset, update, (given.flip(0) + reset * hidden).tanh()


class InPlace:
    """The same in few passes over room for `pairs` pairs, taken once: what a processor's cache wants."""

    def __init__(self, like: Tensor, pairs: int) -> None:
        channels = like.shape[-1]
        self.gates = like.new_empty(2, pairs, 2 * channels)
        self.candidate, self.open, self.spare = like.new_empty(3, 2, pairs, channels)
        self.half = like.new_empty(pairs, channels)

    def forward(self, ab: Tensor, uv: Tensor, nh: Tensor, out: Tensor) -> None:
        """Writes a ⊕ b to `out` [P, C]."""
        _, update, candidate = self._cells(uv, nh)
        torch.lerp(candidate, ab, update, out=candidate)
        torch.add(candidate[0], candidate[1], out=out).mul_(0.5)

    def backward(self, grad: Tensor, ab: Tensor, uv: Tensor, nh: Tensor, d_ab: Tensor) -> tuple[Tensor, Tensor]:
        """Writes the gradient of `ab` to `d_ab`, gives those of `uv` and `nh`, and uses up these two."""
        pairs = len(grad)
        reset, update, candidate = self._cells(uv, nh)
        gates, opened, spare = (room[:, :pairs] for room in (self.gates, self.open, self.spare))
        given, hidden = nh.chunk(2, dim=-1)
        half = torch.mul(grad, 0.5, out=self.half[:pairs])
        torch.mul(half, update, out=d_ab)
        d_candidate = torch.sub(half, d_ab, out=opened)  # half (1 - update), and soon what it is called
        update.mul_(torch.sub(ab, candidate, out=spare).mul_(d_candidate))
        d_candidate.addcmul_(d_candidate, candidate.mul_(candidate), value=-1)
        torch.mul(d_candidate, hidden, out=spare).mul_(reset)
        torch.mul(d_candidate, reset, out=hidden)
        torch.addcmul(spare, spare, reset, value=-1, out=reset)
        given[1].copy_(d_candidate[0])
        given[0].copy_(d_candidate[1])
        torch.add(gates[0], gates[1], out=uv[0])
        torch.sub(gates[0], gates[1], out=uv[1])
        return uv, nh

    def _cells(self, uv: Tensor, nh: Tensor) -> Parts:
        pairs = uv.shape[1]
        gates, candidate = self.gates[:, :pairs], self.candidate[:, :pairs]
        torch.add(uv[0], uv[1], out=gates[0])
        torch.sub(uv[0], uv[1], out=gates[1])
        reset, update = gates.sigmoid_().chunk(2, dim=-1)
        given, hidden = nh.chunk(2, dim=-1)
        torch.addcmul(given[1], reset[0], hidden[0], out=candidate[0])
        torch.addcmul(given[0], reset[1], hidden[1], out=candidate[1])
        return reset, update, candidate.tanh_()


class Fused:
    """The same in one kernel each way, made by torch.compile."""

    def forward(self, ab: Tensor, uv: Tensor, nh: Tensor, out: Tensor) -> None:
        out.copy_(_compiled(meet)(ab, uv, nh))

    def backward(self, grad: Tensor, ab: Tensor, uv: Tensor, nh: Tensor, d_ab: Tensor) -> tuple[Tensor, Tensor]:
        value, d_uv, d_nh = _compiled(meet_backward)(grad, ab, uv, nh)
        d_ab.copy_(value)
        return d_uv, d_nh


def element_wise(like: Tensor, pairs: int) -> InPlace | Fused:
    """For rows on the device and of the type and width of `like`, at most `pairs` pairs at a time."""
    return Fused() if like.is_cuda and _has_triton() else InPlace(like, pairs)


@cache
def _has_triton() -> bool:
    found = importlib.util.find_spec("triton") is not None
    if not found:
        warnings.warn(
            "triton can't be imported, so pairs meet on the GPU in a kernel an operation: slower", stacklevel=2
        )
    return found


@cache
def _compiled(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)
