"""An LSTM's states, cells and gates from oneDNN's fused pass, which takes half the time of one written out in steps.

Cells and gates are what the pass leaves in its workspace for the pass back. Where they lie there is documented nowhere,
so what is read is believed only if the steps that it tells of are those of the pass; else there is nothing to read.
"""

import torch
from torch import Tensor

LSTM_MODE = 2  # torch's number for the kind of recurrence
LINE, ALIAS = 16, 256  # single precision numbers: rows are padded to whole cache lines, and off multiples of 1 KB,
PAGE = 1024  # and what a pass keeps begins at a page each
TOLERANCE = 1e-4  # of oneDNN's sigmoid and tanh


def fused_gates(
    x: Tensor, inner: Tensor, weight: Tensor, biases: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor] | None:
    """States [T + 1, B, H], cells [T + 1, B, H] and gates [T, B, 4 H] after their non-linearities (input, forget, cell,
    output), of `x` [T, B, I] from zero states; None where oneDNN can't, or they aren't where they are looked for.
    """
    batch, (width, size) = x.shape[1], weight.shape
    if not all(part.device.type == "cpu" and part.dtype == torch.float32 for part in (x, inner, weight)):
        return None
    if not torch.backends.mkldnn.is_available() or not x.numel():
        return None
    zero = x.new_zeros(batch, size)
    both = biases or (x.new_zeros(width),) * 2
    with torch.enable_grad():  # without it there is no workspace
        states, _, last, workspace = torch.ops.aten.mkldnn_rnn_layer(
            x.detach(), inner, weight, *both, zero, zero, False, [], LSTM_MODE, size, 1, True, False, False, True
        )
    read = _read(workspace.view(torch.float32), x, last)
    if read is None or not _follow(*read, states):
        return None
    gates, c = read
    return torch.cat([zero[None], states]), c, gates


def _row(width: int) -> int:
    """How many numbers a row of `width` takes."""
    row = -(-width // LINE) * LINE
    return row + LINE if row % ALIAS == 0 else row


def _read(kept: Tensor, x: Tensor, last: Tensor) -> tuple[Tensor, Tensor] | None:
    """Gates [T, B, 4 H] and cells [T + 1, B, H]; the first cells, and the `last` [B, H], the pass does not keep.

    First come the gates, then what each step gives to the output and the states of two layers, then the cells of two;
    the first layer of either is the input's.
    """
    (steps, batch, inputs), size = x.shape, last.shape[1]
    rows, cells = steps * batch, (steps + 1) * batch
    before = (rows * _row(4 * size), rows * _row(size), 2 * cells * _row(max(size, inputs)))
    start = sum(-(-part // PAGE) * PAGE for part in before) + cells * size
    end = start + cells * size
    if end > len(kept):
        return None
    gates, c = kept[: before[0]].view(steps, batch, -1)[..., : 4 * size], kept[start:end].view(-1, batch, size)
    c[0], c[-1] = 0, last
    return gates, c


def _follow(gates: Tensor, c: Tensor, states: Tensor) -> bool:
    """Whether the first and the last step of the first and the last sample lead from cell to cell and to the state."""

    def ends(part: Tensor) -> Tensor:
        return part[:: max(len(part) - 1, 1), :: max(part.shape[1] - 1, 1)]

    i, f, g, o = ends(gates).chunk(4, dim=-1)
    before, after = ends(c[:-1]), ends(c[1:])
    off = torch.maximum((f * before + i * g - after).abs(), (o * after.tanh() - ends(states)).abs())
    return bool(off.max() < TOLERANCE)  # of no finite number nothing is believed
