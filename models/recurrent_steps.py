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

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * y (1 - y), in one pass
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y * y)


class GRUSteps(Function):
    """Input gates [T, B, 3 H] to the states before, between and after the steps [T + 1, B, H] and, twice, the last.

    The second argument has the shape of the gates and no other meaning than that its gradient is the one at the
    recurrent product.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, _product: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, width = gates.shape
        size = width // 3
        product = torch.empty_like(gates)
        rz, n = gates.new_empty(steps, batch, 2 * size), gates.new_empty(steps, batch, size)
        h = gates.new_empty(steps + 1, batch, size)
        h[0] = 0
        r, z, transposed = rz[..., :size], rz[..., size:], weight.t()
        driven_rz, driven_n = gates[..., : 2 * size], gates[..., 2 * size :]
        product_rz, product_n = product[..., : 2 * size], product[..., 2 * size :]
        by_step = (driven_rz, driven_n, product, product_rz, product_n, rz, r, z, n, h[:-1], h[1:])
        for i_rz, i_n, p, p_rz, p_n, rz_t, r_t, z_t, n_t, h_t, after in _steps(*by_step):
            if bias is None:
                torch.mm(h_t, transposed, out=p)
            else:
                torch.addmm(bias, h_t, transposed, out=p)
            torch.add(i_rz, p_rz, out=rz_t).sigmoid_()
            torch.addcmul(i_n, r_t, p_n, out=n_t).tanh_()
            torch.lerp(n_t, h_t, z_t, out=after)
        ctx.save_for_backward(rz, n, product, h, weight)
        ctx.set_materialize_grads(False)
        last = h[-1].clone()
        unused = last.clone()
        ctx.mark_non_differentiable(unused)
        return h, last, unused

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        rz, n, product, h, weight = ctx.saved_tensors
        steps, batch, size = n.shape
        r, z = rz[..., :size], rz[..., size:]
        recurrent, own = product, n  # no longer needed as what they were: first what leads there from dh ...
        dr, dz, dn = recurrent.chunk(3, dim=-1)
        sigmoid_backward(h[:-1] - n, z, grad_input=dz)
        tanh_backward(1 - z, n, grad_input=own)  # ... to the new gate's input, ...
        sigmoid_backward(own * dn, r, grad_input=dr)
        torch.mul(own, r, out=dn)
        by_gate = recurrent.view(steps, batch, 3, size)  # ... then the gradients
        dh, outside = _from_outside(grads, h)
        for t, gates_t, d, own_t, z_t in _backwards(by_gate, recurrent, own, z):
            gates_t.mul_(dh[:, None])
            own_t.mul_(dh)
            if t:
                dh.mul_(z_t).addmm_(d, weight)
                if outside:
                    dh += outside[t]
        driven = torch.cat([recurrent[..., : 2 * size], own], dim=-1)
        return driven, recurrent, None, None


class LSTMSteps(Function):
    """Inputs [T, B, I] to the states before, between and after the steps [T + 1, B, H], last state and cell.

    The second argument [T, B, 4 H] has no other meaning than that its gradient is the one at the gates. All gates are
    one call of the sigmoid, of twice the cell gate: tanh(x) = 2 sigmoid(2 x) - 1.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gates: Tensor, inner: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, width = gates.shape
        size = width // 4
        twice = x.new_ones(width)
        twice[2 * size : 3 * size] = 2
        first, transposed = (inner * twice[:, None]).t(), (weight * twice[:, None]).t()
        rows = x.flatten(0, 1)
        acts = rows @ first if bias is None else torch.addmm(bias * twice, rows, first)
        acts = acts.view(steps, batch, width)
        h, c = x.new_empty(steps + 1, batch, size), x.new_empty(steps + 1, batch, size)
        h[0] = c[0] = 0
        squashed = x.new_empty(steps, batch, size)  # tanh of the cell
        i, f, g, o = acts.chunk(4, dim=-1)
        by_step = (acts, i, f, g, o, c[:-1], c[1:], squashed, h[:-1], h[1:])
        for a, i_t, f_t, g_t, o_t, c_t, c_after, tanh_c, h_t, h_after in _steps(*by_step):
            a.addmm_(h_t, transposed).sigmoid_()
            torch.mul(f_t, c_t, out=c_after).addcmul_(i_t, g_t, value=2).sub_(i_t)
            torch.tanh(c_after, out=tanh_c)
            torch.mul(o_t, tanh_c, out=h_after)
        ctx.save_for_backward(acts, c, squashed, inner, weight)
        ctx.set_materialize_grads(False)
        return h, h[-1].clone(), c[-1].clone()

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, *grads: Tensor | None
    ) -> tuple[Tensor | None, Tensor, None, None, None]:
        acts, c, squashed, inner, weight = ctx.saved_tensors
        i, f, g, o = acts.chunk(4, dim=-1)  # [T, B, H] each
        g.mul_(2).sub_(1)
        d = torch.empty_like(acts)  # first what leads there from dc and (the output gate) from dh, then the gradients
        di, df, dg, do = d.chunk(4, dim=-1)
        sigmoid_backward(g, i, grad_input=di)
        sigmoid_backward(c[:-1], f, grad_input=df)
        tanh_backward(i, g, grad_input=dg)
        sigmoid_backward(squashed, o, grad_input=do)
        to_cell = tanh_backward(o, squashed, grad_input=squashed)
        dh, outside = _from_outside(grads, c)
        dc = torch.zeros_like(dh) if grads[2] is None else grads[2].clone()
        for t, d_t, di_t, df_t, dg_t, do_t, f_t, to_cell_t in _backwards(d, di, df, dg, do, f, to_cell):
            dc.addcmul_(dh, to_cell_t)
            di_t.mul_(dc)
            df_t.mul_(dc)
            dg_t.mul_(dc)
            do_t.mul_(dh)
            if t:
                dc.mul_(f_t)
                torch.mm(d_t, weight, out=dh)
                if outside:
                    dh += outside[t]
        return d @ inner if ctx.needs_input_grad[0] else None, d, None, None, None


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
