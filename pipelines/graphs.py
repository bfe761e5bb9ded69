"""The static graph of a model. What is worked out of values sees the training range alone."""

import numpy as np
import torch
from torch import Tensor

from data.correlation_graph import correlation_graph
from data.distance_graph import distance_km, kernel_graph, nearest_graph
from data.panel import Panel
from pipelines.errors import SpecError
from pipelines.given_graph import dense
from pipelines.prepare import Prepared
from pipelines.spec import GraphModel


def static_graph(model: GraphModel, prepared: Prepared, train_end: int) -> Tensor:
    """Weights [N, N] from node to node. Raises SpecError where the data can't give it, or it would join nothing."""
    try:
        graph = _graph(model, prepared, train_end)
    except ValueError as error:
        raise SpecError(f"model.graph: {model.graph!r} can't be made: {error}") from None
    if not graph.any():
        hint = "lower model.threshold" if model.graph in ("correlation", "distance") else "look at its source"
        raise SpecError(f"model.graph: {model.graph!r} joins no two of the {len(graph)} nodes; {hint}")
    return graph


def _graph(model: GraphModel, prepared: Prepared, train_end: int) -> Tensor:
    match model.graph:
        case "flows-mean":
            return _mean_edges(prepared, train_end)
        case "correlation":
            return _correlations(prepared.panel, train_end, model.threshold or 0.5)
        case "distance":
            places = _coordinates(prepared.panel)
            sigma_km = model.sigma_km or float(distance_km(places, places).std())
            return dense(kernel_graph(places, sigma_km=sigma_km, threshold=model.threshold or 0.1))
        case "nearest":
            return dense(nearest_graph(_coordinates(prepared.panel), neighbours=model.neighbours))
        case "given" if prepared.given is not None:
            return prepared.given
    raise ValueError("it is no static graph")


def _mean_edges(prepared: Prepared, train_end: int) -> Tensor:
    """Of the steps of training whose edges are known: the delay has passed, and some flow was counted."""
    assert prepared.series.edges is not None  # `prepare` has seen to that
    known = prepared.series.edges[prepared.shape.edge_delay : train_end]
    counted = known.flatten(1).any(1)
    return (known.double().sum(0) / counted.sum().clamp(min=1)).float()


def _correlations(panel: Panel, train_end: int, threshold: float) -> Tensor:
    """The mean over variables of the correlations that are high enough."""
    graphs = [
        dense(correlation_graph(panel, name, train_end=train_end, threshold=threshold)) for name in panel.variables
    ]
    return torch.stack(graphs).mean(0)


def _coordinates(panel: Panel) -> np.ndarray:
    """[N, 2], latitude and longitude."""
    if not {"latitude", "longitude"} <= set(panel.static.columns):
        raise ValueError("the nodes have no coordinates; name the columns latitude and longitude in [data.zones]")
    found = panel.static.select("latitude", "longitude").to_numpy().astype(np.float64)
    missing = np.isnan(found).any(axis=1)
    if missing.any():
        raise ValueError(f"node {panel.nodes[int(missing.argmax())]!r} has no coordinates in the zone table")
    return found
