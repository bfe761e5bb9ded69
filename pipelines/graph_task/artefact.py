"""A predictor of a graph task on disk: numbers and a config, no pickled class and no code.

weights.safetensors  the network
config.json          its shape and features, what it predicts, on which clock, and where it comes from

Nothing is kept of a node: a predictor works on other nodes than it was trained on.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from data.degree_features import DegreeSchema
from data.node_features import FeatureScale
from pipelines.errors import StoreError
from pipelines.graph_task.evaluate import Evaluated
from pipelines.graph_task.features import FeatureSchema, feature_width
from pipelines.graph_task.ingest import step_name
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.spec import GraphModel, GraphSpec, GraphTask, NodeLabelTask

FORMAT = 2  # 1 knew no features but degrees, and no classes of nodes
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
    given: dict[str, list[Any]] | None = None  # names, mean and factor of the features that the model reads
    classes: list[str] = field(default_factory=list)  # of nodes


@dataclass(frozen=True)
class GraphArtefact:
    config: GraphConfig
    task: GraphTask
    model: GraphModel
    network: GraphNetwork

    @property
    def schema(self) -> FeatureSchema:
        return _schema(self.config)


def describe_artefact(spec: GraphSpec, prepared: Prepared, evaluated: Evaluated) -> GraphConfig:
    snapshots, given = prepared.snapshots, prepared.schema.used(spec.model)
    return GraphConfig(
        format=FORMAT,
        kind="graph",
        name=spec.name,
        task=spec.task.model_dump(mode="json"),
        model=spec.model.model_dump(mode="json"),
        largest_degree=prepared.schema.degrees.largest,
        interval=snapshots.interval,
        timezone=zone_of(prepared),
        is_directed=snapshots.is_directed,
        trained_until=step_name(snapshots.clock[prepared.ranges.validation_end - 1 + prepared.ahead]),
        dataset_version=prepared.dataset_version,
        training_key=evaluated.fitted.key,
        given=None if given is None else {name: list(values) for name, values in asdict(given).items()},
        classes=[] if prepared.node_classes is None else list(prepared.classes),
    )


def features_read(artefact: GraphArtefact) -> list[str]:
    """The given features that the model reads; none where it reads degrees."""
    given = artefact.schema.given
    return [] if given is None else list(given.names)


def _schema(config: GraphConfig) -> FeatureSchema:
    given = None
    if config.given is not None:
        given = FeatureScale(**{name: tuple(values) for name, values in config.given.items()})
    return FeatureSchema(DegreeSchema(config.largest_degree), given)


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
        network = GraphNetwork(
            model,
            feature_width(model, _schema(config)),
            window=task.window,
            directed=config.is_directed,
            node_classes=len(config.classes) if isinstance(task, NodeLabelTask) else None,
        )
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise StoreError(f"{folder} holds no usable predictor of a graph: {error}") from error
    return GraphArtefact(config, task, model, network.eval())
