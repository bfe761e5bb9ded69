"""One line of the ledger, and how each holds the one before it.

hash = SHA-256 of the canonical JSON of the entry without its hash: keys sorted, UTF-8, no spaces, numbers as strings.
`prev_hash` is the hash of the entry before; the first has 64 zeros.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

GENESIS = "0" * 64
OWN = ("seq", "prev_hash", "time", "type")
TYPES = (
    "policy",
    "dataset_version",
    "reserve",
    "start",
    "progress",
    "commit",
    "release",
    "refuse",
    "audit",
    "correction",
    "anchor",
)


@dataclass(frozen=True)
class Entry:
    """`fields` are JSON-ready: texts, booleans, lists and tables of them; no number that a reader may round."""

    seq: int
    prev_hash: str
    time: str  # UTC, microseconds
    type: str
    fields: dict[str, Any]
    hash: str

    @property
    def body(self) -> str:
        own = {"seq": str(self.seq), "prev_hash": self.prev_hash, "time": self.time, "type": self.type}
        return canonical({**self.fields, **own})

    def get(self, name: str, absent: Any = "") -> Any:
        return self.fields.get(name, absent)


def canonical(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def seal(*, seq: int, prev_hash: str, time: str, type: str, fields: dict[str, Any]) -> Entry:
    """The entry with its hash. Raises ValueError for a number, a type or a name that has no place in it."""
    if type not in TYPES:
        raise ValueError(f"no entry is of type {type!r}; known: {', '.join(TYPES)}")
    if taken := set(OWN) & set(fields):
        raise ValueError(f"{', '.join(sorted(taken))} are the entry's own")
    _refuse_numbers(fields)
    entry = Entry(seq, prev_hash, time, type, fields, "")
    return Entry(seq, prev_hash, time, type, fields, digest(entry.body))


def parse(body: str, hash: str) -> Entry:
    """The entry that a stored line says, unchecked."""
    record: dict[str, Any] = json.loads(body)
    own = {name: record.pop(name) for name in OWN}
    return Entry(int(own["seq"]), own["prev_hash"], own["time"], own["type"], record, hash)


def _refuse_numbers(value: Any, where: str = "fields") -> None:
    """A number would be read as a float by somebody, and rounded the wrong way."""
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_numbers(inner, f"{where}.{name}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_numbers(inner, where)
    elif not isinstance(value, str | bool):
        raise ValueError(f"{where} is {value!r}; an entry holds texts, true and false")
