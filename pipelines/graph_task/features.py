"""What is told of a node: the features that the data give, or its degree, on the scale of the training steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from data.degree_features import DegreeSchema, fit_degrees
from data.node_features import FeatureScale, fit_scale
from data.snapshots import Snapshots
from pipelines.graph_task.frames import Features
from pipelines.graph_task.spec import GraphModelBase


@dataclass(frozen=True)
class FeatureSchema:
    degrees: DegreeSchema
    given: FeatureScale | None  # where the data have features

    def used(self, model: GraphModelBase) -> FeatureScale | None:
        """The given features where the model reads them, None where it reads degrees."""
        return self.given if model.features in ("auto", "given") else None


def fit_features(snapshots: Snapshots, *, train_end: int) -> FeatureSchema:
    """The schema of the steps `[0, train_end)`."""
    return FeatureSchema(fit_degrees(snapshots, train_end=train_end), fit_scale(snapshots, train_end=train_end))


def features_of(model: GraphModelBase, schema: FeatureSchema) -> tuple[Features, Tensor]:
    """What is told of a node that is there, and of one that is not [D]."""
    given = schema.used(model)
    if given is not None:
        return given.scaled, torch.zeros(len(given.names))
    if model.features == "log_degree":
        return schema.degrees.log_degree, torch.zeros(1)
    largest = schema.degrees.largest
    degrees = DegreeSchema(min(largest, model.largest_degree or largest))
    absent = torch.zeros(degrees.largest + 1)
    absent[0] = 1
    return degrees.one_hot, absent


def feature_width(model: GraphModelBase, schema: FeatureSchema) -> int:
    return len(features_of(model, schema)[1])


def words(model: GraphModelBase, schema: FeatureSchema) -> str:
    """Which features these are, for a person to read."""
    if schema.used(model) is not None:
        return "given"
    return "log_degree" if model.features == "log_degree" else "degree"
