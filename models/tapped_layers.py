"""Linear maps and recurrences that tell where their weights are at work: what per-sample gradients are made of.

A weight is used linearly, y = W x, so its gradient for one sample is the sum over the sample's places (steps, nodes) of
(gradient at y) x', and it is enough to know the former. Each layer computes what PyTorch's does, with its own weights,
and tells `use` of the pre-activations y and of all maps that lead to them; gradients stop there.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.recurrent_steps import GRUSteps, LSTMSteps


class LinearMap(NamedTuple):
    weight: Tensor  # [O, I], the parameter itself
    bias: Tensor | None
    inputs: Tensor  # [..., I]
    columns: slice = slice(None)  # of the pre-activations, that this map leads to,
    turned: int = 0  # from this row of the weight on, and at the end the rows before it


Use = Callable[..., None]  # of the tensor that has the gradient at the pre-activations, and of the maps to them


def linear(layer: nn.Linear, use: Use, x: Tensor) -> Tensor:
    """What `layer(x)` gives."""
    y = functional.linear(x, layer.weight.detach(), _fixed(layer.bias))
    if not y.requires_grad:
        y.requires_grad_()
    use(y, LinearMap(layer.weight, layer.bias, x.detach()))
    return y


def recurrence(rnn: nn.GRU | nn.LSTM, use: Use, x: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """What `rnn(x)` gives for `x` [B, T, I], from zero states; `use` is told of tensors [T, B, ...].

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
    biases = None if b_in is None or b_rec is None else (b_in.detach(), b_rec.detach())
    size, detached = rnn.hidden_size, (w_in.detach(), w_rec.detach())
    gates = x.new_zeros(()).expand(*x.shape[:-1], 4 * size).requires_grad_()  # without memory: they exist in a pass
    if isinstance(rnn, nn.LSTM):  # both products are added before anything happens to them
        h, last, c = LSTMSteps.apply(x, gates, *detached, biases)
        columns, turned = (slice(0, 4 * size), slice(0, 4 * size)), 0
    else:
        h, last, c = GRUSteps.apply(x, gates, *detached, biases)
        columns, turned = (slice(0, 3 * size), slice(size, 4 * size)), 2 * size
    outer = LinearMap(w_in, b_in, x.detach(), columns[0], turned)
    use(gates, outer, LinearMap(w_rec, b_rec, h[:-1].detach(), columns[1]))
    return (h[1:].flip(0) if backwards else h[1:]), last, c


def _fixed(bias: nn.Parameter | None) -> Tensor | None:
    return None if bias is None else bias.detach()
