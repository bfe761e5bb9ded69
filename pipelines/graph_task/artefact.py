"""A predictor of a graph task on disk: numbers and a config, no pickled class and no code.

weights.safetensors  the network
config.json          its shape and features, what it predicts, on which clock, and where it comes from

Nothing is kept of a node: a predictor works on other nodes than it was trained on.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from data.degree_features import DegreeSchema
from pipelines.errors import StoreError
from pipelines.graph_task.evaluate import Evaluated
from pipelines.graph_task.ingest import step_name
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared, features_of
from pipelines.graph_task.spec import GraphModel, GraphSpec, GraphTask

FORMAT = 1
WEIGHTS, CONFIG = "weights.safetensors", "config.json"


@dataclass(frozen=True)
class GraphConfig:
    """All that is needed to predict, besides the weights."""

    format: int
    kind: str  # "graph"
    name: str
    task: dict[str, Any]
    model: dict[str, Any]
    largest_degree: int
    interval: str
    timezone: str
    is_directed: bool
    trained_until: str  # last step whose links or labels the weights, or the choice of the epoch, have seen
    dataset_version: str
    training_key: str


@dataclass(frozen=True)
class GraphArtefact:
    config: GraphConfig
    task: GraphTask
    model: GraphModel
    network: GraphNetwork

    @property
    def degrees(self) -> DegreeSchema:
        return DegreeSchema(self.config.largest_degree)


def describe_artefact(spec: GraphSpec, prepared: Prepared, evaluated: Evaluated) -> GraphConfig:
    snapshots = prepared.snapshots
    return GraphConfig(
        format=FORMAT,
        kind="graph",
        name=spec.name,
        task=spec.task.model_dump(mode="json"),
        model=spec.model.model_dump(mode="json"),
        largest_degree=prepared.degrees.largest,
        interval=snapshots.interval,
        timezone=zone_of(prepared),
        is_directed=snapshots.is_directed,
        trained_until=step_name(snapshots.clock[prepared.ranges.validation_end - 1 + prepared.ahead]),
        dataset_version=prepared.dataset_version,
        training_key=evaluated.fitted.key,
    )


def zone_of(prepared: Prepared) -> str:
    return str(getattr(prepared.snapshots.clock, "tz", None) or "")


def save_artefact(folder: Path, config: GraphConfig, network: GraphNetwork) -> None:
    """Write the two files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2, ensure_ascii=False), encoding="utf-8")


def load_artefact(folder: Path) -> GraphArtefact:
    """Raises StoreError where a file is missing, damaged or of a newer format."""
    try:
        config = GraphConfig(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        if config.format > FORMAT:
            raise StoreError(
                f"{folder} has format {config.format}; this flockcast reads up to {FORMAT}: upgrade flockcast"
            )
        task: GraphTask = TypeAdapter(GraphTask).validate_python(config.task)
        model: GraphModel = TypeAdapter(GraphModel).validate_python(config.model)
        width = len(features_of(model, DegreeSchema(config.largest_degree))[1])
        network = GraphNetwork(model, width, window=task.window, directed=config.is_directed)
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise StoreError(f"{folder} holds no usable predictor of a graph: {error}") from error
    return GraphArtefact(config, task, model, network.eval())
