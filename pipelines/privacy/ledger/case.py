"""A request to spend, all that bears on it, and the form of a refusal."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.records import Charge, Policy
from pipelines.privacy.mechanisms import PrivateTraining, RandomStopping


@dataclass(frozen=True)
class Refusal:
    reason: str
    message: str
    more: dict[str, Any] = field(default_factory=dict)

    def to_fields(self) -> dict[str, Any]:
        return {"reason": self.reason, "message": self.message, **self.more}


@dataclass(frozen=True)
class Case:
    """A request and all that bears on it. `elsewhere` has the data set that a source was first read under."""

    charge: Charge
    actor: str
    account: Account
    elsewhere: dict[str, str]
    now: datetime
    for_tests: bool

    @property
    def policy(self) -> Policy:
        return self.account.policies[self.charge.unit][0]

    @property
    def training(self) -> PrivateTraining | None:
        """That the run, or each trial of its search, is."""
        mechanism = self.charge.mechanism
        if isinstance(mechanism, RandomStopping):
            return mechanism.trial
        return mechanism if isinstance(mechanism, PrivateTraining) else None


Rule = Callable[[Case], Refusal | None]
