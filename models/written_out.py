"""Recurrences written out in plain operations, for `torch.func.vmap`, which can't see through the fused ones."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.forward_swap import forward_of

States = tuple[Tensor, Tensor]  # h and, of an LSTM, c (else h again): [B, H] each


@contextmanager
def written_out(network: nn.Module) -> Iterator[None]:
    """While it is open, every GRU, LSTM and RNN within `network` runs step by step, with the same weights."""
    with ExitStack() as stack:
        for part in network.modules():
            if isinstance(part, nn.RNNBase):
                stack.enter_context(forward_of(part, partial(recurrence, part)))
        yield


def recurrence(rnn: nn.RNNBase, x: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
    """What `rnn(x)` gives for `x` [B, T, I], from zero states."""
    finals: list[States] = []
    for layer in range(rnn.num_layers):
        if layer:
            x = functional.dropout(x, rnn.dropout, rnn.training)
        ways = [_one_way(rnn, x, f"l{layer}{way}") for way in ("", "_reverse")[: 1 + rnn.bidirectional]]
        x = torch.cat([outputs for outputs, _ in ways], dim=-1)  # [B, T, D * H]
        finals += [final for _, final in ways]
    h = torch.stack([h for h, _ in finals])
    return x, (h, torch.stack([c for _, c in finals])) if isinstance(rnn, nn.LSTM) else h


def _one_way(rnn: nn.RNNBase, x: Tensor, name: str) -> tuple[Tensor, States]:
    w_in, w_rec = getattr(rnn, f"weight_ih_{name}"), getattr(rnn, f"weight_hh_{name}")
    b_in, b_rec = (getattr(rnn, f"bias_{kind}_{name}") if rnn.bias else None for kind in ("ih", "hh"))
    backwards = name.endswith("_reverse")
    driven = functional.linear(x.flip(1) if backwards else x, w_in, b_in)  # [B, T, G]
    h = c = x.new_zeros(x.shape[0], rnn.hidden_size)
    states = []
    for gates in driven.unbind(1):
        h, c = _step(rnn, gates, functional.linear(h, w_rec, b_rec), h, c)
        states.append(h)
    outputs = torch.stack(states, dim=1)
    return (outputs.flip(1) if backwards else outputs), (h, c)


def _step(rnn: nn.RNNBase, driven: Tensor, recurrent: Tensor, h: Tensor, c: Tensor) -> States:
    if isinstance(rnn, nn.GRU):
        (ir, iz, inew), (hr, hz, hnew) = driven.chunk(3, dim=-1), recurrent.chunk(3, dim=-1)
        z = (iz + hz).sigmoid()
        n = (inew + (ir + hr).sigmoid() * hnew).tanh()
        h = n + z * (h - n)
        return h, h
    if isinstance(rnn, nn.LSTM):
        i, f, g, o = (driven + recurrent).chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    h = (driven + recurrent).tanh() if rnn.mode == "RNN_TANH" else (driven + recurrent).relu()
    return h, h
