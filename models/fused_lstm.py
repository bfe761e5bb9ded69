"""An LSTM's states and gates from oneDNN's fused pass, which takes half the time of one that is written out in steps.

The gates are what the pass leaves in its workspace for the pass back. Where they lie there is documented nowhere, so
what is read is believed only if the steps that follow from it are those of the pass; else there is nothing to read.
"""

import torch
from torch import Tensor

LSTM_MODE = 2  # torch's number for the kind of recurrence
LINE, ALIAS = 16, 256  # single precision numbers: rows are padded to whole cache lines, and off multiples of 1 KB


def fused_gates(
    x: Tensor, inner: Tensor, weight: Tensor, biases: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """States [T + 1, B, H], cells [T + 1, B, H] and gates [T, B, 4 H] after their non-linearities (input, forget, cell,
    output), of `x` [T, B, I] from zero states; None where oneDNN can't, or its gates aren't where they are looked for.
    """
    size = weight.shape[1]
    if not all(part.device.type == "cpu" and part.dtype == torch.float32 for part in (x, inner, weight)):
        return None
    if not torch.backends.mkldnn.is_available() or not x.numel():
        return None
    zero = x.new_zeros(x.shape[1], size)
    both = biases or (x.new_zeros(4 * size),) * 2
    sizes = (LSTM_MODE, size, 1)  # and one layer
    with torch.enable_grad():  # without it there is no workspace
        states, _, last, workspace = torch.ops.aten.mkldnn_rnn_layer(
            x.detach(), inner, weight, *both, zero, zero, False, [], *sizes, True, False, False, True
        )
    gates = _in_workspace(workspace, x.shape[0], x.shape[1], 4 * size)
    if gates is None:
        return None
    h = torch.cat([zero[None], states])
    c = _cells(gates)
    return (h, c, gates) if _follow(gates, c, h, last) else None


def _in_workspace(workspace: Tensor, steps: int, batch: int, width: int) -> Tensor | None:
    """At its beginning, row by row [T, B, `width`]."""
    row = -(-width // LINE) * LINE
    row += LINE if row % ALIAS == 0 else 0
    if workspace.dtype != torch.uint8 or workspace.numel() < 4 * steps * batch * row:
        return None
    return workspace.view(torch.float32)[: steps * batch * row].view(steps, batch, row)[..., :width]


def _cells(gates: Tensor) -> Tensor:
    """[T + 1, B, H] from gates [T, B, 4 H]."""
    i, f, g, _ = gates.chunk(4, dim=-1)
    c = i.new_empty(len(i) + 1, *i.shape[1:])
    c[0] = 0
    torch.mul(i, g, out=c[1:])
    each = c.unbind(0)
    for f_t, before, after in zip(f.unbind(0), each[:-1], each[1:], strict=True):
        after.addcmul_(f_t, before)
    return c


def _follow(gates: Tensor, c: Tensor, h: Tensor, last: Tensor) -> bool:
    """Whether the first state, the last and the last cell are those of the pass: all gates led to the last cell."""
    ends = slice(None, None, max(len(gates) - 1, 1))
    made = gates[ends].chunk(4, dim=-1)[3] * c[1:][ends].tanh()
    return torch.allclose(made, h[1:][ends], rtol=1e-4, atol=1e-5) and torch.allclose(c[-1], last, rtol=1e-4, atol=1e-5)
