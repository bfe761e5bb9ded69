"""A forecaster on disk: numbers and a config, no pickled class and no code.

weights.safetensors      the network and its scaler
calibration.safetensors  quantiles of validation residuals, for intervals and quantile forecasts
config.json              the network's shape, what it forecasts, on which clock, and where it comes from
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from pydantic import TypeAdapter
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from models.forecaster import Scaled, Scaler
from pipelines.errors import StoreError
from pipelines.evaluate import Evaluated
from pipelines.intervals import Calibration
from pipelines.prepare import Prepared, node_labels
from pipelines.privacy.claim import Protection
from pipelines.spec import Model, Spec
from pipelines.zoo import Shape, build

FORMAT = 1
WEIGHTS, CALIBRATION, CONFIG = "weights.safetensors", "calibration.safetensors", "config.json"


@dataclass(frozen=True)
class Config:
    """All that is needed to forecast, besides the weights."""

    format: int
    name: str
    model: dict[str, Any]
    shape: dict[str, Any]
    nodes: list[str]
    labels: list[str]
    variables: list[str]
    interval: str
    timezone: str
    country: str | None
    is_count: bool
    interval_level: float
    intervals: str  # which conformal variant the calibration stands for
    trained_until: str  # last step that weights or calibration have seen
    dataset_version: str
    training_key: str
    are_flows: bool = False  # the variables are the nodes again, as targets
    protection: dict[str, Any] | None = None  # what it promises to the people in its data, and where the ledger has it
    is_internal: bool = False  # of protected data, and promises nothing: what it forecasts stays in the house

    @property
    def is_marked(self) -> bool:
        """Whether its forecasts carry a mark."""
        return self.protection is not None or self.is_internal

    @property
    def promised(self) -> Protection | None:
        """Of a private model what it promises."""
        return None if self.protection is None else Protection.from_json(json.dumps(self.protection))

    @property
    def label(self) -> str:
        """What a table calls the model."""
        return TypeAdapter[Model](Model).validate_python(self.model).label


@dataclass(frozen=True)
class Artefact:
    config: Config
    network: Scaled
    calibration: Calibration


def describe_artefact(
    spec: Spec, prepared: Prepared, evaluated: Evaluated, protection: Protection | None = None
) -> Config:
    labels = node_labels(prepared.panel)
    return Config(
        format=FORMAT,
        name=spec.name,
        model=spec.model.model_dump(mode="json"),
        shape=asdict(prepared.shape),
        nodes=list(prepared.panel.nodes),
        labels=[labels[node] for node in prepared.panel.nodes],
        variables=list(prepared.panel.variables),
        interval=prepared.panel.interval,
        timezone=prepared.panel.timezone,
        country=prepared.country,
        is_count=prepared.is_count,
        interval_level=spec.evaluation.interval_level,
        intervals=spec.evaluation.intervals,
        trained_until=prepared.panel.index[evaluated.ranges.validation_end - 1].isoformat(),
        dataset_version=prepared.dataset_version,
        training_key=evaluated.fitted.key,
        are_flows=prepared.are_flows,
        protection=None if protection is None else json.loads(protection.to_json()),
        is_internal=evaluated.is_internal,
    )


def save_artefact(folder: Path, config: Config, evaluated: Evaluated) -> None:
    """Write the three files into `folder`, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: value.contiguous() for name, value in evaluated.fitted.network.state_dict().items()}, folder / WEIGHTS
    )
    calibration = evaluated.calibration
    arrays = {"quantiles": calibration.quantiles.astype(np.float32), "asked": calibration.asked}
    save_arrays(arrays, folder / CALIBRATION)
    (folder / CONFIG).write_text(json.dumps(asdict(config), indent=2, ensure_ascii=False), encoding="utf-8")


def load_artefact(folder: Path) -> Artefact:
    """Raises StoreError where a file is missing, damaged or of a newer format."""
    try:
        config = Config(**json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        if config.format > FORMAT:
            raise StoreError(
                f"{folder} has format {config.format}; this flockcast reads up to {FORMAT}: upgrade flockcast"
            )
        shape = Shape(**config.shape)
        network = Scaled(
            build(TypeAdapter[Model](Model).validate_python(config.model), shape), Scaler(shape.nodes, shape.variables)
        )
        network.load_state_dict(load_file(folder / WEIGHTS))
        arrays = load_arrays(folder / CALIBRATION)
        calibration = Calibration(arrays["quantiles"], asked=arrays["asked"], miss=1 - config.interval_level)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise StoreError(f"{folder} holds no usable forecaster: {error}") from error
    return Artefact(config, network.eval(), calibration)
