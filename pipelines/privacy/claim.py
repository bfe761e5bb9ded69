"""A privacy claim: never an epsilon without what it speaks of.

A claim is a unit, a neighbouring relation, epsilon and delta, with the accountant, the sampling that the accounting
takes for granted, and what nobody checks but the owner of the data. Every place that shows an epsilon shows
`Claim.sentence`.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pipelines.privacy.mechanisms import (
    GaussianRelease,
    GeometricRelease,
    Mechanism,
    RandomStopping,
    Unit,
    from_record,
    to_record,
)

WHOM: dict[Unit, str] = {
    "trip": "one trip",
    "window": "one training window (weak: a person is in many)",
    "slot": "all that happens in one time slot (a person is in many)",
    "user_day": "one person's data of one day",
    "user_week": "one person's data of one week",
    "user": "one person's data",
}


@dataclass(frozen=True)
class Claim:
    """What is promised of one release or one training, by itself."""

    unit: Unit
    relation: str  # "add or remove" (counts), "zero out" (windows, slots)
    epsilon: float
    delta: float
    accountant: str  # name and version
    mechanism: Mechanism
    span: str | None = None  # of unit `user`: over what time
    assumptions: tuple[str, ...] = ()  # what the data's owner vouches for and nothing here enforces

    @property
    def sampling(self) -> str:
        """What of the sampling the accounting takes for granted."""
        if isinstance(self.mechanism, GaussianRelease | GeometricRelease):
            return "no sampling"
        training = self.mechanism.trial if isinstance(self.mechanism, RandomStopping) else self.mechanism
        how = "Poisson sampling" if training.sampling == "poisson" else "Poisson sampling of random-offset tiles"
        return f"{how} at rate {training.sample_rate:.4g}, {training.steps:,} steps"

    @property
    def sentence(self) -> str:
        """For people: whom it protects, how far, and how that was worked out."""
        whom = WHOM[self.unit] + (f" over {self.span}" if self.span else "")
        assumed = f", assuming {'; '.join(self.assumptions)}" if self.assumptions else ""
        return (
            f"Protects {whom}: epsilon = {rounded_up(self.epsilon)}, delta = {self.delta:.3g} "
            f"({self.relation}; {self.accountant}; {self.sampling}{assumed})"
        )

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "mechanism": to_record(self.mechanism)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Claim":
        record: dict[str, Any] = json.loads(text)
        mechanism = from_record(record.pop("mechanism"))
        return cls(**{**record, "mechanism": mechanism, "assumptions": tuple(record["assumptions"])})


def rounded_up(epsilon: float) -> str:
    """Three significant figures, never less than what was spent; a value that is exact in three stays."""
    if epsilon == 0 or not math.isfinite(epsilon):
        return f"{epsilon:g}"
    unit = 10.0 ** (math.floor(math.log10(epsilon)) - 2)
    return f"{math.ceil(epsilon / unit - 1e-9) * unit:.3g}"


Serving = Literal["released_input", "raw_input_internal"]


@dataclass(frozen=True)
class Protection:
    """A claim and where the ledger holds what it cost; `serving` says whether forecasts may leave the house."""

    claim: Claim
    ledger_seq: int  # of the commit
    ledger_hash: str
    run_id: str  # of the ledger
    serving: Serving

    @property
    def tags(self) -> dict[str, str]:
        """Of an MLflow run and version."""
        claim = self.claim
        span = {"privacy.span": claim.span} if claim.span else {}
        return {
            "privacy.claim": claim.sentence,
            "privacy.unit": claim.unit,
            "privacy.relation": claim.relation,
            "privacy.epsilon": repr(claim.epsilon),
            "privacy.delta": repr(claim.delta),
            "privacy.accountant": claim.accountant,
            "privacy.mechanism": claim.mechanism.kind,
            "privacy.ledger_seq": str(self.ledger_seq),
            "privacy.ledger_hash": self.ledger_hash,
            "privacy.ledger_run": self.run_id,
            "privacy.serving": self.serving,
            **span,
        }

    def to_json(self) -> str:
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "claim"}
        return json.dumps({**own, "claim": json.loads(self.claim.to_json())}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Protection":
        record: dict[str, Any] = json.loads(text)
        return cls(**{**record, "claim": Claim.from_json(json.dumps(record["claim"]))})
