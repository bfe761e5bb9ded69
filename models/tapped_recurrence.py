"""GRU and LSTM whose gate gradients can be read: what per-sample gradients of a recurrence are made of.

Every weight of a recurrence is used linearly, so its gradient for one sample is a sum over steps of (gradient at the
pre-activation) x (input), and it is enough to know the former. `recurrence` computes what `nn.GRU` and `nn.LSTM` do,
with their own weights, and hands each product of a weight to `use`; gradients go to the pre-activations alone, never to
a weight. The passes over the steps are written out by hand: autograd would spend more time on its book-keeping than the
processor on the products. Gates are in the order of PyTorch (GRU: reset, update, new; LSTM: input, forget, cell,
output), and so is the place of the reset gate: it multiplies the product, not the state. Inside, steps come first, so
that what belongs to one step lies together.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

Use = Callable[[nn.Parameter, nn.Parameter | None, Tensor, Tensor], None]
"""Told of every product: weight [O, I], bias, inputs [K, B, I], and the pre-activations [K, B, O] they lead to."""

sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * y (1 - y), in one pass
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y * y)


def recurrence(rnn: nn.GRU | nn.LSTM, x: Tensor, use: Use) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """What `rnn(x)` gives for `x` [B, T, I], from zero states; its weights get no gradient.

    Raises ValueError for what no forecaster has: projections, and steps before samples.
    """
    if rnn.proj_size or not rnn.batch_first:
        raise ValueError("a tapped recurrence has no projections and reads samples first")
    x, finals = x.transpose(0, 1).contiguous(), []
    for layer in range(rnn.num_layers):
        if layer:
            x = functional.dropout(x, rnn.dropout, rnn.training)
        ways = [_one_way(rnn, x, f"l{layer}{way}", use) for way in ("", "_reverse")[: 1 + rnn.bidirectional]]
        x = torch.cat([states for states, _, _ in ways], dim=-1) if rnn.bidirectional else ways[0][0]  # [T, B, D * H]
        finals += [(h, c) for _, h, c in ways]
    h = torch.stack([h for h, _ in finals])
    return x.transpose(0, 1), (h, torch.stack([c for _, c in finals])) if isinstance(rnn, nn.LSTM) else h


def _one_way(rnn: nn.GRU | nn.LSTM, x: Tensor, name: str, use: Use) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction: states [T, B, H], and the pass's last state and (of an LSTM) cell [B, H]."""
    w_in, w_rec = getattr(rnn, f"weight_ih_{name}"), getattr(rnn, f"weight_hh_{name}")
    b_in, b_rec = (getattr(rnn, f"bias_{kind}_{name}") if rnn.bias else None for kind in ("ih", "hh"))
    if backwards := name.endswith("_reverse"):
        x = x.flip(0)
    gates = functional.linear(x, w_in.detach(), None if b_in is None else b_in.detach())  # [T, B, G]
    if not gates.requires_grad:
        gates.requires_grad_()
    use(w_in, b_in, x.detach(), gates)
    tap = gates.new_zeros(()).expand(gates.shape).requires_grad_()  # its gradient is that of the recurrent products
    cell = GRUSteps if isinstance(rnn, nn.GRU) else LSTMSteps
    h, last, c = cell.apply(gates, tap, w_rec.detach(), None if b_rec is None else b_rec.detach())
    use(w_rec, b_rec, h[:-1].detach(), tap)
    return (h[1:].flip(0) if backwards else h[1:]), last, c


class GRUSteps(Function):
    """Input gates [T, B, 3 H] to the states before, between and after the steps [T + 1, B, H] and, twice, the last."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, tap: Tensor, weight: Tensor, bias: Tensor | None
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
        for t in range(steps):
            if bias is None:
                torch.mm(h[t], transposed, out=product[t])
            else:
                torch.addmm(bias, h[t], transposed, out=product[t])
            torch.add(driven_rz[t], product_rz[t], out=rz[t]).sigmoid_()
            torch.addcmul(driven_n[t], r[t], product_n[t], out=n[t]).tanh_()
            torch.lerp(n[t], h[t], z[t], out=h[t + 1])
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
        recurrent = n.new_empty(steps, batch, 3 * size)  # first what leads there from dh, then the gradients
        dr, dz, dn = recurrent.chunk(3, dim=-1)
        own = tanh_backward(1 - z, n, grad_input=torch.empty_like(n))  # from dh to the new gate's input
        torch.mul(own, r, out=dn)
        sigmoid_backward(own * product[..., 2 * size :], r, grad_input=dr)
        sigmoid_backward(h[:-1] - n, z, grad_input=dz)
        by_gate = recurrent.view(steps, batch, 3, size)
        dh = _from_outside(grads, h)
        for t in range(steps - 1, -1, -1):
            by_gate[t].mul_(dh[:, None])
            own[t].mul_(dh)
            if t:
                dh.mul_(z[t]).addmm_(recurrent[t], weight)
                if grads[0] is not None:
                    dh += grads[0][t]
        driven = torch.cat([recurrent[..., : 2 * size], own], dim=-1)
        return driven, recurrent, None, None


class LSTMSteps(Function):
    """Input gates [T, B, 4 H] to the states before, between and after the steps [T + 1, B, H], last state and cell."""

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, tap: Tensor, weight: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, batch, width = gates.shape
        size = width // 4
        acts = gates.clone() if bias is None else gates + bias
        h, c = gates.new_empty(steps + 1, batch, size), gates.new_empty(steps + 1, batch, size)
        h[0] = c[0] = 0
        squashed, transposed = gates.new_empty(steps, batch, size), weight.t()  # tanh of the cell
        i, f, g, o = acts.chunk(4, dim=-1)
        i_f = acts[..., : 2 * size]
        for t in range(steps):
            acts[t].addmm_(h[t], transposed)
            i_f[t].sigmoid_()
            g[t].tanh_()
            o[t].sigmoid_()
            torch.mul(f[t], c[t], out=c[t + 1]).addcmul_(i[t], g[t])
            torch.tanh(c[t + 1], out=squashed[t])
            torch.mul(o[t], squashed[t], out=h[t + 1])
        ctx.save_for_backward(acts, c, squashed, weight)
        ctx.set_materialize_grads(False)
        return h, h[-1].clone(), c[-1].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        acts, c, squashed, weight = ctx.saved_tensors
        steps, batch, size = squashed.shape
        i, f, g, o = acts.chunk(4, dim=-1)  # [T, B, H] each
        d = torch.empty_like(acts)  # first what leads there from dc and (the output gate) from dh, then the gradients
        di, df, dg, do = d.chunk(4, dim=-1)
        sigmoid_backward(g, i, grad_input=di)
        sigmoid_backward(c[:-1], f, grad_input=df)
        tanh_backward(i, g, grad_input=dg)
        sigmoid_backward(squashed, o, grad_input=do)
        to_cell = tanh_backward(o, squashed, grad_input=torch.empty_like(squashed))
        by_gate = d.view(steps, batch, 4, size)[:, :, :3]
        dh = _from_outside(grads, c)
        dc = torch.zeros_like(dh) if grads[2] is None else grads[2].clone()
        for t in range(steps - 1, -1, -1):
            dc.addcmul_(dh, to_cell[t])
            by_gate[t].mul_(dc[:, None])
            do[t].mul_(dh)
            if t:
                dc.mul_(f[t])
                torch.mm(d[t], weight, out=dh)
                if grads[0] is not None:
                    dh += grads[0][t]
        return d, d, None, None


def _from_outside(grads: tuple[Tensor | None, ...], states: Tensor) -> Tensor:
    """The gradient of the last state, [B, H], as a tensor that may be written to."""
    dh = torch.zeros_like(states[-1])
    if grads[0] is not None:
        dh += grads[0][-1]
    return dh if grads[1] is None else dh.add_(grads[1])
