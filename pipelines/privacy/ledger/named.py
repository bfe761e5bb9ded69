"""Under which data sets files were named, so that a new name is no way round a budget.

Files that a run was admitted to read are bound to its data set. So are those of a request that was refused, if that
data set had a budget: asking again under another name would else get what was just denied. The second can be a slip
of the pen; `admission` says how it is mended.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from pipelines.privacy.ledger import store
from pipelines.privacy.ledger.chain import GENESIS, Entry

Place = tuple[str, str]  # tenant, data set


@dataclass
class Named:
    """By source; `seq` and `hash` are of the last entry that was read."""

    admitted: dict[str, set[Place]] = field(default_factory=dict)
    refused: dict[str, set[Place]] = field(default_factory=dict)
    protected: set[Place] = field(default_factory=set)
    seq: int = 0
    hash: str = GENESIS

    def add(self, entry: Entry) -> None:
        place = (entry.get("tenant"), entry.get("dataset_id"))
        if entry.type == "policy":
            self.protected.add(place)
        elif entry.type in ("dataset_version", "reserve"):
            self._bind(self.admitted, entry, place)
        elif entry.type == "refuse" and place in self.protected:
            self._bind(self.refused, entry, place)
        self.seq, self.hash = entry.seq, entry.hash

    def _bind(self, bound: dict[str, set[Place]], entry: Entry, place: Place) -> None:
        for source in entry.fields.get("sources", []):
            bound.setdefault(source, set()).add(place)


def read_on(connection: Connection, named: Named) -> Named:
    """With what came since; read from the beginning if its last entry was rolled back."""
    if not store.holds(connection, named.seq, named.hash):
        named = Named()
    for entry in store.since(connection, named.seq):
        named.add(entry)
    return named
