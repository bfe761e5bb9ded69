"""LSTM, GRU, BiLSTM and BiGRU forecasters.

Arcolezi et al., Differentially Private Multivariate Time Series Forecasting of Aggregated Human Mobility With Deep
Learning, arXiv:2205.00436, section 3: one recurrent layer over the window, one dense output for the whole horizon.
Differs from the paper: inputs are scaled, tanh stands where they have ReLU (so that the fused kernels serve), the
calendar is that of day and week (theirs has a period of 30 days), the output may be the change from the last value, and
a perceptron of the target's calendar may be added to it: a state of a few dozen numbers can't hold the daily profile of
many series, while the calendar of the future is known. With `profile` 0 there is none, as in the paper.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from models.clock import CYCLIC_WIDTH, cyclic
from models.filling import fill_forward
from models.profile import Profile

Cell = Literal["lstm", "gru", "bilstm", "bigru"]
Predict = Literal["value", "change"]


class Recurrence(nn.Module):
    """Inputs of every step [B, W, I] to one state [B, C]: the last of the forward pass, and of the backward pass."""

    def __init__(self, cell: Cell, inputs: int, hidden: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        kind = nn.LSTM if cell.endswith("lstm") else nn.GRU
        bidirectional = cell.startswith("bi")
        between = dropout if layers > 1 else 0.0
        self.rnn = kind(inputs, hidden, layers, batch_first=True, dropout=between, bidirectional=bidirectional)
        self.width = hidden * (2 if bidirectional else 1)
        self.directions = 2 if bidirectional else 1

    def forward(self, inputs: Tensor) -> Tensor:
        state = self.rnn(inputs)[1]
        h = state[0] if isinstance(state, tuple) else state  # [layers * directions, B, hidden]
        return torch.cat(list(h[-self.directions :]), dim=-1)  # [B, C]


class RecurrentForecaster(nn.Module):
    """One recurrence reads all nodes at once, one dense layer writes all nodes and lead times.

    `predict` is the value itself or its change from the last observed value; the output layer starts at zero, so an
    untrained network forecasts the training mean or persistence.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        horizon: int,
        nodes: int,
        variables: int,
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
        predict: Predict = "value",
        profile: int = 0,
    ) -> None:
        super().__init__()
        self.shape = (horizon, nodes, variables)
        self.predict = predict
        self.recurrence = Recurrence(cell, nodes * variables + CYCLIC_WIDTH, hidden, layers=layers, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(self.recurrence.width, horizon * nodes * variables)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.profile = Profile(profile, nodes, variables) if profile else None

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        filled = fill_forward(x, mask)  # [B, W, N, F]
        past = cyclic(calendar[:, : x.shape[1]])  # [B, W, 5]
        state = self.recurrence(torch.cat([filled.flatten(2), past], dim=-1))  # [B, C]
        forecast = self.output(self.dropout(state)).unflatten(-1, self.shape)  # [B, H, N, F]
        if self.profile is not None:
            forecast = forecast + self.profile(calendar[:, x.shape[1] :])
        return forecast + filled[:, -1:] if self.predict == "change" else forecast
