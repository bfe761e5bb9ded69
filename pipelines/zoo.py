"""From a model's table in the spec to the network: the one place that knows which name is which class."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.dlinear import DLinear
from models.graph_evolution import cooccurrence_graph
from models.recurrent import RecurrentForecaster
from models.regenn import RegennForecaster, RegennSettings
from models.stid import Stid
from pipelines.spec import DLinearModel, Model, RecurrentModel, RegennModel, StidModel

MOST_EXPLAINED = 200  # variables of a graph whose relations are kept for every epoch


@dataclass(frozen=True)
class Shape:
    """What a network must know of its data."""

    window: int
    horizon: int
    nodes: int
    variables: int
    slots_per_day: int
    has_week: bool  # whether the calendar of day and week says anything at this interval
    predict: Literal["value", "change"]  # what the data favour, for models that are told `auto`


def build(model: Model, shape: Shape) -> nn.Module:
    """A fresh network on scaled values; its weights come from torch's random state."""
    match model:
        case RecurrentModel():
            return RecurrentForecaster(
                model.name,
                horizon=shape.horizon,
                nodes=shape.nodes,
                variables=shape.variables,
                hidden=model.hidden,
                layers=model.layers,
                dropout=model.dropout,
                predict=shape.predict if model.predict == "auto" else model.predict,
                profile=model.profile if shape.has_week else 0,
            )
        case DLinearModel():
            return DLinear(window=shape.window, horizon=shape.horizon, kernel=model.kernel)
        case StidModel():
            return Stid(
                window=shape.window,
                horizon=shape.horizon,
                nodes=shape.nodes,
                variables=shape.variables,
                slots_per_day=shape.slots_per_day,
                hidden=model.hidden,
                layers=model.layers,
                dropout=model.dropout,
            )
        case RegennModel():
            return _regenn(model, shape)


def learn_graph(network: nn.Module, values: Tensor, mask: Tensor) -> None:
    """Give a network with a graph the one of the training range, `values` and `mask` [T, N, F] on the original scale.

    Of data that are never negative a variable is present where it is positive, else where it was observed.
    """
    if isinstance(network, RegennForecaster):
        present = mask & (values > 0) if not (mask & (values < 0)).any() else mask
        graph = cooccurrence_graph(network.as_samples(values), network.as_samples(present))
        network.set_graph(graph.float())


def relations(network: nn.Module) -> Tensor | None:
    """What the variables of a learned graph take of each other: source and target layer, [2, V, V].

    None for networks without one, and for graphs too large to be looked at.
    """
    if (
        not isinstance(network, RegennForecaster)
        or network.network.source is None
        or len(network.graph) > MOST_EXPLAINED
    ):
        return None
    return torch.stack(list(network.evolution_weights())).cpu()


def _regenn(model: RegennModel, shape: Shape) -> RegennForecaster:
    """Raises ValueError where the graph would have a single variable."""
    settings = RegennSettings(
        gate=model.gate,
        bidirectional_gate=model.bidirectional_gate,
        sequencer=None if model.sequencer == "none" else model.sequencer,
        bidirectional_sequencer=model.bidirectional_sequencer,
        feedforward=model.encoder or None,
        attention_axis=model.attention_axis,
        graph_evolution=model.graph_evolution,
        autoregression=model.autoregression,
        bias=model.bias,
        dropout=model.dropout,
        attention_dropout=model.attention_dropout,
        output="Identity",  # scaled values have both signs
    )
    by_nodes = model.samples == "nodes" or (model.samples == "auto" and shape.variables > 1)
    return RegennForecaster(
        settings,
        window=shape.window,
        horizon=shape.horizon,
        nodes=shape.nodes,
        variables=shape.variables,
        samples="nodes" if by_nodes else "none",
        predict=shape.predict if model.predict == "auto" else model.predict,
    )
