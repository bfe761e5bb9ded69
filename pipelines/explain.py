"""What a learned graph says of its variables, in words and numbers for the report and the registry."""

import polars as pl
import torch

from models.regenn import strongest_relations
from pipelines.prepare import Prepared, node_labels
from pipelines.results import Explanation
from pipelines.train import Fitted
from pipelines.zoo import graph_axes


def explain(prepared: Prepared, fitted: Fitted) -> Explanation | None:
    """None for a network without a learned graph, or with one too large to be looked at."""
    axes = graph_axes(fitted.network.network)
    if fitted.relations is None or axes is None:
        return None
    labels, panel = node_labels(prepared.panel), prepared.panel
    each = [
        f"{labels[node]} {variable}" if len(panel.variables) > 1 else labels[node]
        for node in panel.nodes
        for variable in panel.variables
    ]
    weights = fitted.relations.numpy()
    return Explanation(
        variables=panel.variables if axes.samples == "nodes" else tuple(each),
        source=weights[:, 0],
        target=weights[:, 1],
        best_epoch=fitted.history.best_epoch,
    )


def relation_table(explanation: Explanation, count: int = 20) -> pl.DataFrame:
    """The strongest relations: variable, takes_of, its weight in the source and target layer, and through both."""
    pairs = strongest_relations(torch.from_numpy(explanation.through), count)
    source, target = (layer[explanation.best_epoch] for layer in (explanation.source, explanation.target))
    return pl.DataFrame(
        [
            {
                "variable": explanation.variables[pair.variable],
                "takes_of": explanation.variables[pair.reads],
                "source": float(source[pair.variable, pair.reads]),
                "target": float(target[pair.variable, pair.reads]),
                "through": pair.weight,
            }
            for pair in pairs
        ]
    )
