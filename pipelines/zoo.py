"""From a model's table in the spec to the network: the one place that knows which name is which class."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from models.dlinear import DLinear
from models.recurrent import RecurrentForecaster
from models.stid import Stid
from pipelines.spec import DLinearModel, Model, RecurrentModel, StidModel


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


def describe(model: Model) -> dict[str, Any]:
    """The model's table as numbers and strings, for a config file or the registry."""
    return model.model_dump(mode="json")
