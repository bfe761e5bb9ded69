"""Recurrent cells whose state is a matrix: every column of a weight [R, C] is one state vector.

Pareja et al., EvolveGCN: Evolving Graph Convolutional Networks for Dynamic Graphs, AAAI 2020, arXiv:1902.10191,
sections 3.2, 3.3 and appendix. They are not `nn.GRUCell` and its kin: the bias is a matrix, the reset gate acts before
the product, and the update gate weights the candidate. All gates' products are one.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class WeightState(NamedTuple):
    """An evolved weight [..., R, C], and the cell context of the LSTM of the same shape."""

    weight: Tensor
    context: Tensor | None = None

    def detach(self) -> "WeightState":
        return WeightState(self.weight.detach(), None if self.context is None else self.context.detach())


class MatrixCell(nn.Module):
    """`gates` gates g with parameters M_g, U_g [R, R] and B_g [R, C]; the bias starts at zero."""

    def __init__(self, gates: int, rows: int, columns: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(gates, rows, rows))  # M
        self.recurrent = nn.Parameter(torch.empty(gates, rows, rows))  # U
        self.bias = nn.Parameter(torch.zeros(gates, rows, columns))  # B
        for matrices in (self.input, self.recurrent):
            nn.init.uniform_(matrices, -(rows**-0.5), rows**-0.5)


class MatrixGRU(MatrixCell):
    """Gates in the order update, reset, candidate.

    With `residual`, W_new = W + z * w~: the old weight is added to and not forgotten.
    """

    def __init__(self, rows: int, columns: int, *, residual: bool = False) -> None:
        super().__init__(3, rows, columns)
        self.residual = residual

    def forward(self, inputs: Tensor | None, state: WeightState) -> WeightState:
        """`inputs` [..., R, C]; None means the weight itself, which folds M + U of update and reset into one."""
        weight = state.weight
        if inputs is None:
            folded = torch.cat([self.input[:2] + self.recurrent[:2], self.input[2:]])
            given = products(folded, weight) + self.bias  # [..., 3, R, C]
            gates = given[..., :2, :, :].sigmoid()
        else:
            given = products(self.input, inputs) + self.bias
            gates = (given[..., :2, :, :] + products(self.recurrent[:2], weight)).sigmoid()
        update, reset = gates.unbind(-3)
        candidate = (given[..., 2, :, :] + self.recurrent[2] @ (reset * weight)).tanh()
        if self.residual:
            return WeightState(weight + update * candidate)
        return WeightState(torch.lerp(weight, candidate, update))  # (1 - z) * W + z * w~


class MatrixLSTM(MatrixCell):
    """Gates in the order forget, input, output, candidate; with `residual`, W_new = W + o * tanh(C)."""

    def __init__(self, rows: int, columns: int, *, residual: bool = False) -> None:
        super().__init__(4, rows, columns)
        self.residual = residual

    def forward(self, inputs: Tensor | None, state: WeightState) -> WeightState:
        """`inputs` [..., R, C]; None means the weight itself, which folds M + U of all gates into one.

        A state without a context starts from zeros.
        """
        weight = state.weight
        if inputs is None:
            given = products(self.input + self.recurrent, weight) + self.bias  # [..., 4, R, C]
        else:
            given = products(self.input, inputs) + products(self.recurrent, weight) + self.bias
        forget, admit, output = given[..., :3, :, :].sigmoid().unbind(-3)
        context = admit * given[..., 3, :, :].tanh()
        if state.context is not None:
            context = forget * state.context + context
        new = output * context.tanh()
        return WeightState(weight + new if self.residual else new, context)


def products(matrices: Tensor, state: Tensor) -> Tensor:
    """Every one of `matrices` [G, R, R] times `state` [..., R, C] in a single product: [..., G, R, C]."""
    return (matrices.flatten(0, 1) @ state).unflatten(-2, matrices.shape[:2])
