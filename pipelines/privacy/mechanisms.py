"""What a guarantee rests on: change a field and epsilon changes.

Mechanisms are what is stored; epsilon is computed from them (`pipelines.privacy.accounting`), never typed in. Batch
sizes, workers and seeds are not here.

Mechanism
├── GaussianRelease    integer Gaussian noise on counts
├── GeometricRelease   two-sided geometric noise on counts
├── PrivateTraining    DP-SGD on Poisson samples of windows, or on random-offset tiles
└── RandomStopping     a search over private trainings of which the best alone is released
"""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, get_args

Unit = Literal["trip", "window", "slot", "user_day", "user_week", "user"]
UNITS: tuple[Unit, ...] = get_args(Unit)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True)
class GaussianRelease:
    """Counts with discrete Gaussian noise of parameter `scale`; one unit moves their L2 norm by `sensitivity`."""

    kind: ClassVar[str] = "discrete_gaussian"
    sensitivity: float  # Δ2
    scale: float  # s, the standard deviation of the continuous Gaussian of the same shape

    def __post_init__(self) -> None:
        _require(0 < self.sensitivity < math.inf, f"a sensitivity of {self.sensitivity} bounds nothing")
        _require(0 < self.scale < math.inf, f"noise of scale {self.scale} protects nobody")


@dataclass(frozen=True)
class GeometricRelease:
    """Counts with noise Pr[z] ~ exp(-|z| / scale); one unit moves their L1 norm by `sensitivity`."""

    kind: ClassVar[str] = "geometric"
    sensitivity: float  # Δ1
    scale: float  # Δ1 / ε

    def __post_init__(self) -> None:
        _require(0 < self.sensitivity < math.inf, f"a sensitivity of {self.sensitivity} bounds nothing")
        _require(0 < self.scale < math.inf, f"noise of scale {self.scale} protects nobody")


@dataclass(frozen=True)
class PrivateTraining:
    """DP-SGD: every step takes each sample with chance `sample_rate`, clips it to `max_grad_norm`, adds noise.

    `group_size` is the number of samples that one privacy unit may be in (spec. of windows: `units.windows_of`).
    With `sampling` "tiling" the windows of a step are disjoint, so a unit is in at most one of them.
    """

    kind: ClassVar[str] = "dp_sgd"
    noise_multiplier: float  # σ, noise std over max_grad_norm
    sample_rate: float  # q
    steps: int  # T
    max_grad_norm: float  # C
    group_size: int = 1  # w
    sampling: Literal["poisson", "tiling"] = "poisson"

    def __post_init__(self) -> None:
        _require(0 < self.noise_multiplier < math.inf, f"a noise multiplier of {self.noise_multiplier} protects nobody")
        _require(0 < self.sample_rate <= 1, f"a sample rate of {self.sample_rate} is no chance")
        _require(self.steps >= 0, f"{self.steps} steps can't be taken")
        _require(0 < self.max_grad_norm < math.inf, f"a clipping norm of {self.max_grad_norm} bounds nothing")
        _require(self.group_size >= 1, f"a unit is in at least one sample, not {self.group_size}")
        _require(
            self.sampling == "poisson" or self.group_size == 1,
            f"of disjoint tiles a unit is in one at most, not in {self.group_size}",
        )


@dataclass(frozen=True)
class RandomStopping:
    """A truncated negative binomial number of trainings like `trial`, of which the best alone is released.

    Papernot and Steinke, Hyperparameter Tuning with Rényi Differential Privacy, arXiv:2110.03620: shape `eta` > -1 and
    `gamma` in (0, 1); eta 1 is the geometric distribution with mean 1 / gamma.
    """

    kind: ClassVar[str] = "tnb_search"
    trial: PrivateTraining
    eta: float
    gamma: float

    def __post_init__(self) -> None:
        _require(self.eta > -1, f"eta is {self.eta}; it must be above -1")
        _require(0 < self.gamma < 1, f"gamma is {self.gamma}; it must lie between 0 and 1")


Mechanism = GaussianRelease | GeometricRelease | PrivateTraining | RandomStopping
KINDS: dict[str, type[Mechanism]] = {kind.kind: kind for kind in get_args(Mechanism)}


def to_record(mechanism: Mechanism) -> dict[str, Any]:
    """JSON-ready, numbers as exact decimal text, so that a hash of it is the same everywhere."""
    if isinstance(mechanism, RandomStopping):
        own = {"eta": repr(mechanism.eta), "gamma": repr(mechanism.gamma)}
        return {"kind": mechanism.kind, "trial": to_record(mechanism.trial), **own}
    values = {name: value if isinstance(value, str) else repr(value) for name, value in asdict(mechanism).items()}
    return {"kind": mechanism.kind, **values}


def from_record(record: dict[str, Any]) -> Mechanism:
    """The mechanism that `to_record` wrote. Raises ValueError for anything else."""
    kind = KINDS.get(record.get("kind", ""))
    if kind is None:
        raise ValueError(f"no mechanism is of kind {record.get('kind')!r}; known: {', '.join(KINDS)}")
    try:
        return kind(**{field.name: _read(field.name, record[field.name]) for field in fields(kind)})
    except (KeyError, TypeError) as error:
        raise ValueError(f"a mechanism of kind {kind.kind!r} lacks or garbles {error}") from None


def _read(name: str, value: Any) -> Any:
    if name == "trial":
        return from_record(value)
    if name == "sampling":
        return value
    return int(value) if name in ("steps", "group_size") else float(value)
