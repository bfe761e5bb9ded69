"""What a caller may catch.

FlockcastError        anything below
├── SpecError         the experiment's TOML file is wrong (exit code 2)
├── StoreError        the data directory can't be read or written (exit code 1)
├── RegistryError     the MLflow registry has no such model (exit code 1)
│   └── RegistryUnreachable   it can't be reached; that may pass
├── ServerError       the Prefect server can't be reached (exit code 1)
├── TrainingError     training can't go on: diverged, out of memory (exit code 1)
│   └── PrivacyError      a training that was not as private as promised, or can't be (exit code 1)
├── ServingRefused    a forecast of a private model that would tell more than was promised (exit code 1)
├── LedgerError       the privacy ledger can't do that, or does not verify (exit code 1)
│   └── PolicyError       a budget that makes no sense (exit code 2)
├── BudgetRefused     the privacy ledger refuses a run; nothing was spent (exit code 1)
├── AuditViolated     an audit has refuted a claim of privacy (exit code 1)
└── Stopped           a person stopped what does not go on where it was (exit code 130)

`data.errors.DataError`, raised by the readers, is the sixth: it knows nothing of this tree (exit code 2).
"""

import json
from typing import Any


class FlockcastError(Exception):
    """A message for a person: what is wrong, where, and what to do."""

    exit_code = 1


class SpecError(FlockcastError):
    exit_code = 2


class StoreError(FlockcastError):
    pass


class RegistryError(FlockcastError):
    pass


class RegistryUnreachable(RegistryError):
    pass


class ServerError(FlockcastError):
    pass


class TrainingError(FlockcastError):
    pass


class PrivacyError(TrainingError):
    pass


class ServingRefused(FlockcastError):
    pass


class LedgerError(FlockcastError):
    pass


class PolicyError(LedgerError):
    exit_code = 2


class BudgetRefused(FlockcastError):
    """`refusal` is for machines: reason, message, and where they help blocks, shortfall and an offer that would fit.

    `entry` is the ledger's line of it; None where the ledger can't be trusted with another line.
    """

    def __init__(self, message: str, *, refusal: dict[str, Any], entry: Any = None) -> None:
        super().__init__(message)
        self.refusal, self.entry = refusal, entry

    @property
    def reason(self) -> str:
        return str(self.refusal["reason"])

    def as_json(self) -> str:
        where = {} if self.entry is None else {"seq": str(self.entry.seq), "hash": self.entry.hash}
        return json.dumps({**self.refusal, **where}, sort_keys=True)


class AuditViolated(FlockcastError):
    pass


class Stopped(FlockcastError):
    exit_code = 130
