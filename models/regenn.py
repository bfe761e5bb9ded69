"""ReGENN: a recurrent network between two layers of graph soft evolution.

Spadon et al., Pay Attention to Evolution: Time Series Forecasting With Deep Graph-Evolution Learning, IEEE TPAMI 44(9),
2022, arXiv:2008.12833. Samples are series that happen together (countries), variables are what is observed of each of
them together (confirmed, deaths, recovered) and are the nodes of the graph. Attention runs over the samples, the
gate's recurrence over the variables in the order of their columns: another order is another function.

`RegennForecaster` is the default mode. It differs from the paper: the graph is computed once, from the training range;
the target layer always evolves the source layer's current graph; many windows are one step, and a forecast does not
depend on which other windows share its batch. `models.regenn_reference` has the paper's ways.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.activation import activation
from models.filling import fill_forward, last_observed
from models.graph_evolution import GraphEvolution, TimeMap
from models.profile import Profile

Cell = Literal["lstm", "gru", "rnn"]
Samples = Literal["nodes", "none"]
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


@dataclass(frozen=True)
class RegennSettings:
    """The switches of the network; as they stand, they are the paper's."""

    gate: Cell = "lstm"
    bidirectional_gate: bool = False
    sequencer: Cell | None = "lstm"  # None: without one
    bidirectional_sequencer: bool = False
    feedforward: int | None = 2048  # width inside the encoder; None: without an encoder
    attention_axis: Literal["sample", "variable"] = "sample"
    graph_evolution: bool = True  # False is the paper's ablation
    autoregression: bool = False
    bias: bool = False  # of all but the encoder, which always has its own
    dropout: float = 0.1
    attention_dropout: float | None = None  # None: as `dropout`; 0 runs the attention fused, in linear memory
    evolution: str = "Identity"  # activation of the source layer
    output: str = "ReLU"


class SummedRecurrence(nn.Module):
    """A recurrence [..., T, `inputs`] to [..., T, `hidden`], all its states; two directions are added up."""

    def __init__(self, cell: Cell, inputs: int, hidden: int, *, bidirectional: bool, bias: bool) -> None:
        super().__init__()
        self.rnn = CELLS[cell](inputs, hidden, bias=bias, batch_first=True, bidirectional=bidirectional)
        self.directions = 2 if bidirectional else 1

    def forward(self, x: Tensor) -> Tensor:
        states = self.rnn(x.flatten(0, -3))[0]  # [*, T, directions * C]
        return states.unflatten(-1, (self.directions, -1)).sum(-2).unflatten(0, x.shape[:-2])


class Encoder(nn.Module):
    """One post-norm Transformer layer; a token [W] is the history of one variable of one sample: [B, S, V, W] to same.

    Its attention is the network's only path between samples.
    """

    def __init__(self, window: int, feedforward: int, settings: RegennSettings) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(window, nhead=1, dim_feedforward=feedforward, dropout=settings.dropout)
        if settings.attention_dropout is not None:
            self.layer.self_attn.dropout = settings.attention_dropout
        self.axis = 1 if settings.attention_axis == "sample" else 2

    def forward(self, tokens: Tensor) -> Tensor:
        sequences = tokens.movedim(self.axis, 0)  # [S, B, V, W] or [V, B, S, W]
        encoded = self.layer(sequences.flatten(1, 2))
        return encoded.view_as(sequences).movedim(0, self.axis)


class Sequencer(nn.Module):
    """A recurrence over the steps of the horizon, beside which its input passes: [..., H, V] to the same."""

    def __init__(self, cell: Cell, variables: int, *, bidirectional: bool, bias: bool, dropout: float) -> None:
        super().__init__()
        self.recurrence = SummedRecurrence(cell, variables, variables, bidirectional=bidirectional, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, future: Tensor) -> Tensor:
        return self.dropout(self.recurrence(future)) + future


class Regenn(nn.Module):
    """The network on its own axes: windows `x` [B, S, W, V] and the graphs [V, V] of both layers to [B, S, H, V]."""

    def __init__(self, settings: RegennSettings, *, window: int, horizon: int, variables: int) -> None:
        super().__init__()
        bias, dropout = settings.bias, settings.dropout
        self.source = self.target = self.encoder = self.sequencer = self.autoregression = None
        if settings.graph_evolution:
            mixer = activation(settings.evolution)
            self.source = GraphEvolution(variables, steps=window, bias=bias, dropout=dropout, activation=mixer)
        if settings.feedforward is not None:
            self.encoder = Encoder(window, settings.feedforward, settings)
        self.gate = SummedRecurrence(
            settings.gate, window, horizon, bidirectional=settings.bidirectional_gate, bias=bias
        )
        self.dropout = nn.Dropout(dropout)
        if settings.sequencer is not None:
            both = settings.bidirectional_sequencer
            self.sequencer = Sequencer(settings.sequencer, variables, bidirectional=both, bias=bias, dropout=dropout)
        if settings.graph_evolution:
            self.target = GraphEvolution(variables, bias=bias)
        if settings.autoregression:
            self.autoregression = TimeMap(window, horizon, bias=bias)
        self.output = activation(settings.output)

    def hidden_graph(self, graph: Tensor) -> Tensor:
        """What the source layer hands to the target layer as its graph, without a gradient."""
        return graph if self.source is None else self.source.evolve(graph).hidden.detach()

    def before_output(self, x: Tensor, graph: Tensor, target_graph: Tensor) -> Tensor:
        tokens = (x if self.source is None else self.source(x, graph)).mT  # [B, S, V, W]
        if self.encoder is not None:
            tokens = self.encoder(tokens)
        future = self.dropout(self.gate(tokens).mT)  # [B, S, H, V]
        if self.sequencer is not None:
            future = self.sequencer(future)
        if self.target is not None:
            future = self.target(future, target_graph)
        return future if self.autoregression is None else future + self.autoregression(x)

    def forward(self, x: Tensor, graph: Tensor, target_graph: Tensor) -> Tensor:
        return self.output(self.before_output(x, graph, target_graph))


@dataclass(frozen=True)
class PanelAxes:
    """Which axis of a panel [..., T, N, F] is what to the network.

    `samples`: with `nodes` the N nodes are the samples and their F variables the graph's; with `none` all N * F series
    are the variables of a single sample. Raises ValueError where the graph would have a single variable.
    """

    samples: Samples
    nodes: int
    variables: int

    def __post_init__(self) -> None:
        if self.nodes * self.variables < 2:
            raise ValueError("the graph needs at least 2 variables but the panel is a single series")
        if self.samples == "nodes" and self.variables < 2:
            raise ValueError(
                "the graph needs at least 2 variables but samples = 'nodes' leaves it 1 (one variable at each of "
                f"{self.nodes} nodes); with samples = 'none' the nodes are the graph's variables"
            )

    @property
    def size(self) -> int:
        """How many variables the graph has."""
        return self.variables if self.samples == "nodes" else self.nodes * self.variables

    def as_samples(self, series: Tensor) -> Tensor:
        """From a panel [..., T, N, F] to samples [..., S, T, V]."""
        return series.transpose(-3, -2) if self.samples == "nodes" else series.flatten(-2).unsqueeze(-3)

    def as_panel(self, series: Tensor) -> Tensor:
        """From samples [..., S, T, V] back to a panel [..., T, N, F]."""
        if self.samples == "nodes":
            return series.transpose(-3, -2)
        return series.squeeze(-3).unflatten(-1, (self.nodes, self.variables))


class RegennForecaster(nn.Module):
    """ReGENN on a panel whose `axes` say what is a sample and what a variable.

    `graph` [V, V] comes from the training range (`models.graph_evolution.cooccurrence_graph` of `axes.as_samples`);
    without one every pair of variables is alike, as in a panel without gaps. `predict` is the value, or its change from
    the last observed one, which can be negative. `profile` above 0 is the width of a perceptron that adds what each
    series usually is at the target's time of day and week; the paper's network does not know it. `zero` [N, F] is what
    the data's zero is after scaling: an output by ReLU ends there.
    """

    def __init__(
        self,
        settings: RegennSettings,
        axes: PanelAxes,
        *,
        window: int,
        horizon: int,
        predict: Literal["value", "change"] = "value",
        graph: Tensor | None = None,
        profile: int = 0,
    ) -> None:
        super().__init__()
        self.axes, self.predict = axes, predict
        self.profile = Profile(profile, axes.nodes, axes.variables) if profile else None
        if predict == "change" and settings.output != "Identity":
            raise ValueError(f"a change has both signs but the output is {settings.output}; set the output to Identity")
        self.network = Regenn(settings, window=window, horizon=horizon, variables=axes.size)
        self.register_buffer("graph", 1 - torch.eye(axes.size))
        self.register_buffer("zero", torch.zeros(axes.nodes, axes.variables))
        if graph is not None:
            self.set_graph(graph)

    graph: Tensor
    zero: Tensor

    def set_graph(self, graph: Tensor) -> None:
        if graph.shape != self.graph.shape:
            raise ValueError(f"the graph is {tuple(graph.shape)} but the variables need {tuple(self.graph.shape)}")
        self.graph.copy_(graph)

    def before_output(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        """What the output activation is given, [B, H, N, F]."""
        filled = self.axes.as_samples(fill_forward(x, mask))  # [B, S, W, V]
        ahead = self.network.before_output(filled, self.graph, self.network.hidden_graph(self.graph))
        forecast = self.axes.as_panel(ahead)
        return forecast if self.profile is None else forecast + self.profile(calendar[:, x.shape[1] :])

    def bound(self, before: Tensor) -> Tensor:
        """The output activation. A shift by `zero` would lose the digits of a series far from it; a maximum doesn't."""
        output = self.network.output
        return torch.maximum(before, self.zero) if isinstance(output, nn.ReLU) else output(before)

    def forward(self, x: Tensor, mask: Tensor, calendar: Tensor) -> Tensor:
        forecast = self.bound(self.before_output(x, mask, calendar))
        return forecast + last_observed(x, mask) if self.predict == "change" else forecast

    def evolution_weights(self) -> "EvolutionWeights":
        """As the function of that name, of the graph from the training range."""
        return evolution_weights(self.network, self.graph, self.network.hidden_graph(self.graph))


class EvolutionWeights(NamedTuple):
    """What each variable (row) takes from each (column), with its sign: [V, V] each."""

    source: Tensor
    target: Tensor

    @property
    def through(self) -> Tensor:
        """Both layers one after the other. A lead and its follower stand out here; of the sign, what is between the
        layers may make another."""
        return self.target @ self.source


@torch.no_grad()
def evolution_weights(network: Regenn, graph: Tensor, target_graph: Tensor) -> EvolutionWeights:
    """The relations that were learnt between the variables, from the graphs [V, V] of both layers.

    Raises ValueError where graph evolution is switched off.
    """
    if network.source is None or network.target is None:
        raise ValueError("there are no evolution weights: graph_evolution is off")
    return EvolutionWeights(network.source.evolve(graph).weights, network.target.evolve(target_graph).weights)


class Relation(NamedTuple):
    """`variable` takes `weight` of `reads`."""

    variable: int
    reads: int
    weight: float


def strongest_relations(weights: Tensor, count: int) -> list[Relation]:
    """The `count` pairs of different variables with the largest absolute `weights` [V, V], strongest first.

    Zeros come last, and a weight that is no finite number is no relation.
    """
    size, flat = len(weights), weights.flatten()
    pairs = (weights.isfinite() & ~torch.eye(size, dtype=torch.bool, device=weights.device)).flatten().nonzero()[:, 0]
    order = pairs[flat[pairs].abs().argsort(descending=True, stable=True)[:count]]
    return [Relation(pair // size, pair % size, flat[pair].item()) for pair in order.tolist()]
