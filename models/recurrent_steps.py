"""The steps of GRU and LSTM, forth and back, written out by hand so that the gradients at the gates can be read.

Gradients go to the gates' pre-activations alone, never to a weight. Autograd would spend more time on its book-keeping
than the processor on the products. Gates are in the order of PyTorch (GRU: reset, update, new; LSTM: input, forget,
cell, output), and so is the place of the reset gate: it multiplies the product, not the state. Steps come first, so
that what belongs to one step lies together. What a pass forth leaves is used up by the pass back.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Biases = tuple[Tensor, Tensor] | None  # of the inputs' product and of the recurrent one

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * y (1 - y), in one pass
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y * y)


class GRUSteps(Function):
    """Inputs [T, B, I] to the states before, between and after the steps [T + 1, B, H] and, twice, the last.

    The second argument [T, B, 4 H] has no other meaning than that its gradient is the one at the pre-activations: new
    gate of the inputs, reset and update gate of both products, new gate of the recurrent product. So each product has
    its three side by side.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gates: Tensor, inner: Tensor, weight: Tensor, biases: Biases
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, width = gates.shape
        size = width // 4
        rows = x.flatten(0, 1)
        driven = rows @ inner.t() if biases is None else torch.addmm(biases[0], rows, inner.t())
        driven = driven.view(steps, batch, 3 * size)
        room = x.new_empty(steps, batch, width)
        n, product, rz = room[..., :size], room[..., size:], x.new_empty(steps, batch, 2 * size)
        h = x.new_empty(steps + 1, batch, size)
        h[0] = 0
        r, z, transposed = rz[..., :size], rz[..., size:], weight.t()
        driven_rz, driven_n = driven[..., : 2 * size], driven[..., 2 * size :]
        product_rz, product_n = product[..., : 2 * size], product[..., 2 * size :]
        by_step = (driven_rz, driven_n, product, product_rz, product_n, rz, r, z, n, h[:-1], h[1:])
        for i_rz, i_n, p, p_rz, p_n, rz_t, r_t, z_t, n_t, h_t, after in _steps(*by_step):
            if biases is None:
                torch.mm(h_t, transposed, out=p)
            else:
                torch.addmm(biases[1], h_t, transposed, out=p)
            torch.add(i_rz, p_rz, out=rz_t).sigmoid_()
            torch.addcmul(i_n, r_t, p_n, out=n_t).tanh_()
            torch.lerp(n_t, h_t, z_t, out=after)
        ctx.save_for_backward(rz, room, h, inner, weight)
        ctx.set_materialize_grads(False)
        last = h[-1].clone()
        unused = last.clone()
        ctx.mark_non_differentiable(unused)
        return h, last, unused

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, Tensor, None, None, None]:
        rz, room, h, inner, weight = ctx.saved_tensors
        steps, batch, width = room.shape
        size = width // 4
        r, z = rz[..., :size], rz[..., size:]
        own, dr, dz, dn = room.chunk(4, dim=-1)  # no longer needed as what they were: first what leads there from dh,
        sigmoid_backward(h[:-1] - own, z, grad_input=dz)
        tanh_backward(1 - z, own, grad_input=own)
        sigmoid_backward(own * dn, r, grad_input=dr)
        torch.mul(own, r, out=dn)
        dh, outside = _from_outside(grads, h)  # then the gradients
        of_gates = dh[:, None]
        for t, gates_t, d_t, z_t in _backwards(room.view(steps, batch, 4, size), room[..., size:], z):
            gates_t.mul_(of_gates)
            if t:
                dh.mul_(z_t).addmm_(d_t, weight)
                if outside:
                    dh += outside[t]
        d_x = room[..., : 3 * size] @ inner.roll(size, 0) if ctx.needs_input_grad[0] else None
        return d_x, room, None, None, None


class LSTMSteps(Function):
    """Inputs [T, B, I] to the states before, between and after the steps [T + 1, B, H], last state and cell.

    The second argument [T, B, 4 H] has no other meaning than that its gradient is the one at the gates.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, _gates: Tensor, inner: Tensor, weight: Tensor, biases: Biases
    ) -> tuple[Tensor, Tensor, Tensor]:
        h, c, acts = lstm_gates(x, inner, weight, biases)
        ctx.save_for_backward(acts, c, inner, weight)
        ctx.set_materialize_grads(False)
        return h, h[-1].clone(), c[-1].clone()

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, Tensor, None, None, None]:
        d, c, inner, weight = ctx.saved_tensors
        by_gate = d.unflatten(-1, (4, -1))
        i, f, g, o = by_gate.unbind(2)  # [T, B, H] each; they become what leads there from dc and (o) from dh, ...
        kept = i.clone()
        sigmoid_backward(g, i, grad_input=i)
        tanh_backward(kept, g, grad_input=g)
        kept.copy_(f)
        sigmoid_backward(c[:-1], f, grad_input=f)
        squashed, to_cell = c[1:].tanh(), c[1:]
        tanh_backward(o, squashed, grad_input=to_cell)
        sigmoid_backward(squashed, o, grad_input=o)
        dh, outside = _from_outside(grads, c)  # ... then the gradients
        dc = torch.zeros_like(dh) if grads[2] is None else grads[2].clone()
        of_cell = dc[:, None]
        for t, d_t, to_dc_t, to_dh_t, f_t, to_cell_t in _backwards(d, by_gate[:, :, :3], o, kept, to_cell):
            dc.addcmul_(dh, to_cell_t)
            to_dc_t.mul_(of_cell)
            to_dh_t.mul_(dh)
            if t:
                dc.mul_(f_t)
                torch.mm(d_t, weight, out=dh)
                if outside:
                    dh += outside[t]
        return d @ inner if ctx.needs_input_grad[0] else None, d, None, None, None


def lstm_gates(x: Tensor, inner: Tensor, weight: Tensor, biases: Biases) -> tuple[Tensor, Tensor, Tensor]:
    """States [T + 1, B, H], cells [T + 1, B, H] and gates [T, B, 4 H] after their non-linearities, from zero states.

    All gates are one call of the sigmoid, of twice the cell gate: tanh(x) = 2 sigmoid(2 x) - 1.
    """
    steps, batch, _ = x.shape
    width, size = weight.shape
    twice = x.new_ones(width)
    twice[2 * size : 3 * size] = 2
    first, transposed = (inner * twice[:, None]).t(), (weight * twice[:, None]).t()
    rows = x.flatten(0, 1)
    acts = rows @ first if biases is None else torch.addmm((biases[0] + biases[1]) * twice, rows, first)
    acts = acts.view(steps, batch, width)
    h, c = x.new_empty(steps + 1, batch, size), x.new_empty(steps + 1, batch, size)
    h[0] = c[0] = 0
    i, f, g, o = acts.chunk(4, dim=-1)
    for a, i_t, f_t, g_t, o_t, c_t, c_after, h_t, h_after in _steps(acts, i, f, g, o, c[:-1], c[1:], h[:-1], h[1:]):
        a.addmm_(h_t, transposed).sigmoid_()
        g_t.mul_(2).sub_(1)
        torch.mul(f_t, c_t, out=c_after).addcmul_(i_t, g_t)
        torch.mul(o_t, c_after.tanh(), out=h_after)
    return h, c, acts


def _steps(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The slices of every part [T, ...], step by step; taken at once, for a slice at a time costs more than its sum."""
    return zip(*(part.unbind(0) for part in parts), strict=True)


def _backwards(*parts: Tensor) -> list[tuple[Any, ...]]:
    """The same from the last step to the first, with the step's number."""
    return [(t, *slices) for t, slices in enumerate(_steps(*parts))][::-1]


def _from_outside(grads: tuple[Tensor | None, ...], states: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    """The gradient of the last state, [B, H], as a tensor that may be written to; and of all, where they are read."""
    dh = torch.zeros_like(states[-1])
    if grads[0] is not None:
        dh += grads[0][-1]
    return (dh if grads[1] is None else dh.add_(grads[1])), () if grads[0] is None else grads[0].unbind(0)
