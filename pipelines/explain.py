"""What a learned graph says of its variables, in words and numbers for the report and the registry."""

import re

import numpy as np
import polars as pl
import torch

from models.evolvegcn import watched_norms
from models.regenn import strongest_relations
from pipelines.evaluate import forecast_at
from pipelines.prepare import Prepared, node_labels
from pipelines.results import Explanation, WeightCourse
from pipelines.train import Fitted
from pipelines.zoo import graph_axes

FORBIDDEN = re.compile(r"[^\w.\- ]")  # in the name of an MLflow metric; so is a slash that is none of ours
LONGEST_NAME = 100  # of a variable, of the 250 characters that a metric's name may have


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


def weight_course(prepared: Prepared, fitted: Fitted) -> WeightCourse | None:
    """How the weights evolve over the last window before the test range; None for a network that evolves none."""
    cutoff = prepared.ranges.validation_end - 1
    with watched_norms(fitted.network) as noted:
        forecast_at(fitted.network, prepared, [cutoff], window=prepared.shape.window)
    courses = {name: course for name, course in noted.items() if len(course) > 1}
    return WeightCourse(tuple(courses), np.array(list(courses.values()))) if courses else None


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


def relations_by_epoch(explanation: Explanation) -> pl.DataFrame:
    """Every weight of both layers after each epoch, and through both, also of what a variable takes of itself.

    `epoch` counts from 0, as the steps of the run's losses do.
    """
    epoch, variable, reads = (axis.ravel() for axis in np.indices(explanation.source.shape))
    names = pl.Series(explanation.variables)
    return pl.DataFrame(
        {
            "epoch": epoch,
            "variable": names.gather(variable),
            "takes_of": names.gather(reads),
            "source": explanation.source.ravel(),
            "target": explanation.target.ravel(),
            "through": (explanation.target @ explanation.source).ravel(),
        }
    )


def relation_metrics(explanation: Explanation, count: int = 5) -> list[tuple[str, float, int]]:
    """Name, value, step: the course over the epochs of the relations that are strongest at the best one.

    The name is `relation_<rank>/<variable> takes of <other>`; what no metric's name may have becomes `_`.
    """
    rows = []
    for rank, pair in enumerate(strongest_relations(torch.from_numpy(explanation.through), count), start=1):
        taker, read = (_as_in_a_metric(explanation.variables[v]) for v in (pair.variable, pair.reads))
        course = explanation.course(pair.variable, pair.reads)
        rows += [(f"relation_{rank}/{taker} takes of {read}", float(value), k) for k, value in enumerate(course)]
    return rows


def _as_in_a_metric(name: str) -> str:
    return FORBIDDEN.sub("_", name)[:LONGEST_NAME]
