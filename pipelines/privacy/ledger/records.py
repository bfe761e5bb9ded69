"""What is granted and what is asked for: the two things that people and runs tell the ledger."""

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pipelines.errors import PolicyError
from pipelines.fingerprint import code_revision
from pipelines.privacy.ledger.blocks import KIND, TO, fold, is_block
from pipelines.privacy.mechanisms import UNITS, Mechanism, Unit, to_record

Output = Literal["counts", "weights", "metric"]


@dataclass(frozen=True)
class Policy:
    """The budget of every block of a data set, for one unit of privacy."""

    tenant: str
    data_set: str
    unit: Unit
    epsilon: float
    delta: float
    order: float  # Renyi, of the filter
    span: str | None = None  # of unit `user`
    units: int | None = None  # a public lower bound of how many there are; delta must be below its inverse
    block: str = "day"  # follows from the unit: "week" of user_week, "span" of user
    spenders: tuple[str, ...] = ()  # anybody, where empty
    valid_until: datetime | None = None
    allow_nonprivate_internal: bool = False

    def __post_init__(self) -> None:
        _check(self.unit in UNITS, f"unit {self.unit!r} is none of {', '.join(UNITS)}")
        object.__setattr__(self, "block", KIND[self.unit])
        _check(bool(self.tenant and self.data_set), "a budget needs a tenant and a data set")
        require_finite(self.epsilon)
        _check(0 < self.delta < 1, f"delta is {self.delta}; it must lie between 0 and 1")
        _check(1 < self.order < math.inf, f"the order of the filter is {self.order}; it must be above 1")
        _check(
            (self.unit == "user") == bool(self.span),
            "unit user needs a span: over what time is a person protected?"
            if self.unit == "user"
            else f"unit {self.unit} has no span",
        )
        _check(
            self.span is None or is_block(self.span, "span"),
            f"span {self.span!r} can't be told from a range of blocks; name it without {TO!r}, as 2023",
        )
        _check(
            self.units is None or self.delta * self.units < 1,
            f"delta {self.delta:g} is no less than 1 / {self.units} units: publishing one whole record would pass; "
            "choose at most a tenth of it",
        )
        _check(
            self.valid_until is None or self.valid_until.tzinfo is not None,
            "valid_until needs an offset from UTC",
        )

    def to_fields(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "tenant": self.tenant,
            "dataset_id": self.data_set,
            "unit": self.unit,
            "epsilon": repr(self.epsilon),
            "delta": repr(self.delta),
            "order": repr(self.order),
            "span": self.span,
            "units": None if self.units is None else str(self.units),
            "block": self.block,
            "spenders": list(self.spenders),
            "valid_until": None if self.valid_until is None else self.valid_until.astimezone(UTC).isoformat(),
            "allow_nonprivate_internal": self.allow_nonprivate_internal,
        }
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> "Policy":
        until = fields.get("valid_until")
        units = fields.get("units")
        return cls(
            tenant=fields["tenant"],
            data_set=fields["dataset_id"],
            unit=fields["unit"],
            epsilon=float(fields["epsilon"]),
            delta=float(fields["delta"]),
            order=float(fields["order"]),
            span=fields.get("span"),
            units=None if units is None else int(units),
            spenders=tuple(fields["spenders"]),
            valid_until=None if until is None else datetime.fromisoformat(until),
            allow_nonprivate_internal=fields["allow_nonprivate_internal"],
        )


def require_finite(epsilon: float) -> None:
    _check(0 < epsilon < math.inf, f"epsilon is {epsilon:g}; a budget is above 0 and finite")


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise PolicyError(message)


@dataclass(frozen=True, kw_only=True)
class Charge:
    """The worst that a run may cost, and what of: asked for before anything is read.

    `window` is the whole length of a sample in slots (input, delay and horizon). For the group size of a unit that is
    longer than a slot, `slots_per_unit` says how many slots it may touch and `windows` how many samples there are.
    `sampler`, which a private training must give, is how it draws samples: as the accounting takes for granted.
    """

    run_id: str
    tenant: str
    data_set: str
    data_set_version: str
    sources: tuple[str, ...]  # sha256 of the files to be read
    blocks: tuple[str, ...]
    unit: Unit
    relation: str  # "add or remove" or "zero out"
    mechanism: Mechanism
    delta: float  # at which the cost of this run alone is told
    config_hash: str
    code_revision: str = field(default_factory=code_revision)
    span: str | None = None
    contribution_bound: dict[str, str] | None = None
    window: int | None = None
    stride: int | None = None
    slots_per_unit: int | None = None
    windows: int | None = None
    sampler: str | None = None
    output_kind: Output = "weights"
    rng: Literal["os_csprng", "test"] = "os_csprng"
    recipients: str = ""
    assumptions: tuple[str, ...] = ()  # what the data's owner vouches for, told with every epsilon of the run

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", spelled(self.sources))

    def to_fields(self) -> dict[str, Any]:
        given: dict[str, Any] = {
            "run_id": self.run_id,
            "tenant": self.tenant,
            "dataset_id": self.data_set,
            "dataset_version": self.data_set_version,
            "sources": sorted(self.sources),
            "blocks": fold(self.blocks),
            "unit": self.unit,
            "relation": self.relation,
            "mechanism": to_record(self.mechanism),
            "delta": repr(self.delta),
            "config_hash": self.config_hash,
            "code_revision": self.code_revision,
            "span": self.span,
            "contribution_bound": self.contribution_bound,
            "window": _text(self.window),
            "stride": _text(self.stride),
            "slots_per_unit": _text(self.slots_per_unit),
            "windows": _text(self.windows),
            "sampler": self.sampler,
            "output_kind": self.output_kind,
            "rng": self.rng,
            "recipients": self.recipients,
            "assumptions": list(self.assumptions) or None,
        }
        return {name: value for name, value in given.items() if value is not None}

    def on(self, blocks: tuple[str, ...]) -> "Charge":
        return replace(self, blocks=blocks)


def spelled(sources: tuple[str, ...]) -> tuple[str, ...]:
    """A file has one name: hashes in small letters, or a second spelling would be another file."""
    return tuple(source.lower() for source in sources)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)
