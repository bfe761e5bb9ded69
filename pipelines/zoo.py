"""From a model's table in the spec to the network: the one place that knows which name is which class."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from models.activation import dead_outputs
from models.dlinear import DLinear
from models.evolvegcn import EvolveGCN, EvolveGCNSettings
from models.flow_forecaster import FlowForecaster, FlowSettings
from models.forecaster import Scaler
from models.graph_comparators import StaticGCN
from models.graph_evolution import cooccurrence_graph
from models.graph_forecaster import GraphForecaster
from models.graph_recurrent import GraphRecurrent
from models.pace import Paced
from models.recurrent import RecurrentForecaster
from models.regenn import PanelAxes, RegennForecaster, RegennSettings
from models.regenn_reference import ReferenceForecaster
from models.stid import Stid
from pipelines.spec import (
    DLinearModel,
    EvolveGcnModel,
    FlowModel,
    GcnModel,
    GraphModel,
    GraphRecurrentModel,
    Model,
    RecurrentModel,
    RegennModel,
    StidModel,
)

ASSOC_FRACTION = 0.1  # of a batch's tens of thousands of tree nodes, enough to estimate a mean
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
    output: Literal["ReLU", "Identity"] = "Identity"  # the same, of the activation that ends a network
    edge_delay: int = 0  # steps until an edge is known, for networks that read edges


def build(model: Model, shape: Shape) -> nn.Module:
    """A fresh network on scaled values; its weights come from torch's random state.

    Raises ValueError where it does not fit the data.
    """
    match model:
        case RecurrentModel():
            return _paced(model, _recurrent(model, shape))
        case DLinearModel():
            return _paced(model, DLinear(window=shape.window, horizon=shape.horizon, kernel=model.kernel))
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
        case RegennModel(mode="reference"):
            axes = _axes(model, shape)
            return ReferenceForecaster(_settings(model, shape), axes, window=shape.window, horizon=shape.horizon)
        case RegennModel():
            return _paced(model, _regenn(model, shape))
        case EvolveGcnModel():
            settings = EvolveGCNSettings(model.variant, model.rnn, model.remedy, directed=_is_directed(model))
            evolving = EvolveGCN(settings, [model.hidden] * (model.layers + 1))
            return _paced(model, _on_graph(model, shape, evolving, model.snapshots))
        case GcnModel():
            static = StaticGCN([model.hidden] * (model.layers + 1), directed=_is_directed(model))
            return _paced(model, _on_graph(model, shape, static, 1))
        case GraphRecurrentModel():
            return _paced(model, _on_graph(model, shape, _graph_recurrent(model), model.snapshots))
        case FlowModel():
            return FlowForecaster(
                FlowSettings(
                    variant=model.variant,
                    graph=model.graph,
                    likelihood=model.likelihood,
                    hidden=model.hidden,
                    profile=model.profile if shape.has_week else 0,
                ),
                window=shape.window,
                horizon=shape.horizon,
                nodes=shape.nodes,
            )


def fit_scaler(model: Model, shape: Shape, values: Tensor, mask: Tensor, train_end: int) -> Scaler:
    """What scales the data for a network, from the training steps of `values` and `mask` [T, N, F].

    A model that is leaky by name is given all steps, those of the test range too. A model with a likelihood works in
    the data's own unit, for a scaled count is no count: its variance is no longer that of the law.
    """
    if isinstance(model, FlowModel):
        return Scaler(shape.nodes, shape.variables)
    end = len(values) if model.leaky else train_end
    scaler, seen = Scaler(shape.nodes, shape.variables), (values[:end], mask[:end])
    return scaler.fit_maximum(*seen) if is_reference(model) else scaler.fit(*seen)


def is_reference(model: Model) -> bool:
    """Whether the model is trained as the paper's code did it."""
    return isinstance(model, RegennModel) and model.mode == "reference"


def learn_graph(network: nn.Module, values: Tensor, mask: Tensor) -> None:
    """Give a network the graph, and one of pairs the levels, of the training `values` and `mask` [T, N, F], unscaled.

    Of data that are never negative a variable is present where it is positive, else where it was observed.
    """
    inner = _unwrapped(network)
    if isinstance(inner, RegennForecaster):
        present = mask & (values > 0) if not (mask & (values < 0)).any() else mask
        graph = cooccurrence_graph(inner.axes.as_samples(values), inner.axes.as_samples(present))
        inner.set_graph(graph.float())
    if isinstance(inner, FlowForecaster):
        inner.learn_from(values, mask)


def tell_distances(network: nn.Module, distance_km: Tensor) -> None:
    """Let a network of pairs know how far its nodes are apart, [N, N]."""
    if isinstance(network, FlowForecaster):
        network.set_distances(distance_km)


def set_static_graph(network: nn.Module, graph: Tensor) -> None:
    """Give a network on a static graph its weights [N, N]."""
    inner = _unwrapped(network)
    assert isinstance(inner, GraphForecaster)
    inner.set_graph(graph)


def learn_degrees(network: nn.Module, edges: Tensor | None, delay: int, train_end: int) -> None:
    """Let aggregations that ask for it know the degrees of the training graph: the static one, or that of each step.

    `edges` [T, N, N] are known from `delay` steps on.
    """
    inner = _unwrapped(network)
    if isinstance(inner, GraphForecaster) and isinstance(inner.encoder, GraphRecurrent):
        if inner.graph is not None:
            inner.encoder.fit_degrees(inner.graph)
        elif edges is not None:
            inner.encoder.fit_degrees(edges[delay:train_end])


def tell_zero(network: nn.Module, scaler: Scaler) -> None:
    """Let a network whose output is bounded by the data's zero know what that is after scaling."""
    inner = _unwrapped(network)
    if isinstance(inner, RegennForecaster):
        inner.zero.copy_(scaler.scale(torch.zeros_like(scaler.mean)))


def graph_axes(network: nn.Module) -> PanelAxes | None:
    """Which axes the learned graph of a network is about; None for networks without one."""
    inner = _unwrapped(network)
    return inner.axes if isinstance(inner, RegennForecaster | ReferenceForecaster) else None


def relations(network: nn.Module) -> Tensor | None:
    """What the variables of a learned graph take of each other: source and target layer, [2, V, V].

    None for networks without one, and for graphs too large to be looked at.
    """
    inner = _unwrapped(network)
    if not isinstance(inner, RegennForecaster | ReferenceForecaster) or inner.network.source is None:
        return None
    return torch.stack(list(inner.evolution_weights())).cpu() if len(inner.graph) <= MOST_EXPLAINED else None


def dead_share(network: nn.Module, x: Tensor, mask: Tensor, calendar: Tensor) -> float:
    """The share of a network's outputs [H, N, F] that pass no gradient for any of the scaled windows `x` [B, W, N, F].

    It is asked as in training, on a copy: a graph that grows there would else be empty. One window at a time, as a
    step of the reference has no more.
    """
    inner = _unwrapped(network)
    if not isinstance(inner, RegennForecaster | ReferenceForecaster) or isinstance(inner.network.output, nn.Identity):
        return 0.0
    copied = copy.deepcopy(inner).train()
    if isinstance(copied, ReferenceForecaster):
        copied.first_epoch = 1
    dead = torch.ones((), dtype=torch.bool, device=x.device)
    with torch.random.fork_rng(), torch.no_grad():
        for window in zip(x.split(1), mask.split(1), calendar.split(1), strict=True):
            dead = dead & dead_outputs(copied.bound, copied.before_output(*window))
    return float(dead.float().mean())


def _unwrapped(network: nn.Module) -> nn.Module:
    return network.network if isinstance(network, Paced) else network


def _paced(model: RecurrentModel | DLinearModel | RegennModel | GraphModel, network: nn.Module) -> nn.Module:
    return Paced(network) if model.predict == "pace" else network


def _predict(model: RecurrentModel | RegennModel | GraphModel, shape: Shape) -> Literal["value", "change"]:
    """What the network itself puts out; on a pace it is the value of that."""
    if model.predict == "auto":
        return shape.predict
    return "change" if model.predict == "change" else "value"


def _profile(model: RecurrentModel | RegennModel | GraphModel, shape: Shape) -> int:
    """0 where a day or a week says nothing; a usual course has no size that holds for every pace."""
    return model.profile if shape.has_week and model.predict != "pace" else 0


def _recurrent(model: RecurrentModel, shape: Shape) -> RecurrentForecaster:
    return RecurrentForecaster(
        model.name,
        horizon=shape.horizon,
        nodes=shape.nodes,
        variables=shape.variables,
        hidden=model.hidden,
        layers=model.layers,
        dropout=model.dropout,
        predict=_predict(model, shape),
        profile=_profile(model, shape),
    )


def _regenn(model: RegennModel, shape: Shape) -> RegennForecaster:
    return RegennForecaster(
        _settings(model, shape),
        _axes(model, shape),
        window=shape.window,
        horizon=shape.horizon,
        predict=_predict(model, shape),
        profile=_profile(model, shape),
    )


def _is_directed(model: GraphModel) -> bool:
    """Whether edges may differ from their reverse; those of a list are not asked."""
    return model.graph not in ("correlation", "distance")


def _graph_recurrent(model: GraphRecurrentModel) -> GraphRecurrent:
    from models.aggregations import make_aggregation  # PyG takes a second to import

    charge = {"assoc_weight": model.assoc_weight, "assoc_fraction": ASSOC_FRACTION}
    make = partial(make_aggregation, model.aggregation, model.hidden, **charge)
    return GraphRecurrent(model.hidden, make, layers=model.layers, directed=_is_directed(model))


def _on_graph(
    model: GraphModel, shape: Shape, encoder: EvolveGCN | StaticGCN | GraphRecurrent, snapshots: int
) -> GraphForecaster:
    return GraphForecaster(
        encoder,
        window=shape.window,
        horizon=shape.horizon,
        nodes=shape.nodes,
        variables=shape.variables,
        hidden=model.hidden,
        snapshots=snapshots,
        lags=model.lags,
        is_dynamic=model.is_dynamic,
        directed=_is_directed(model),
        dropout=model.dropout,
        predict=_predict(model, shape),
        profile=_profile(model, shape),
    )


def _axes(model: RegennModel, shape: Shape) -> PanelAxes:
    """Raises ValueError where the graph would have a single variable."""
    by_nodes = model.samples == "nodes" or (model.samples == "auto" and shape.variables > 1)
    return PanelAxes("nodes" if by_nodes else "none", shape.nodes, shape.variables)


def _settings(model: RegennModel, shape: Shape) -> RegennSettings:
    return RegennSettings(
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
        output=_output(model, shape),
    )


def _output(model: RegennModel, shape: Shape) -> str:
    """A ReLU where what is put out can't be negative. Raises ValueError where one is asked for and it can."""
    both_signs = model.mode == "default" and (model.predict == "pace" or _predict(model, shape) == "change")
    if model.output == "relu" and (both_signs or shape.output == "Identity"):
        what = "a change has both signs" if both_signs else "the training range has values below zero"
        raise ValueError(f"{what}, which output 'relu' can't give; set model.output = 'identity'")
    if model.output == "identity" or both_signs:
        return "Identity"
    return shape.output
