"""The ledger while it is open for writing: nobody else writes, what is read stays true, and time only goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from pipelines.privacy.ledger import store
from pipelines.privacy.ledger.account import Account, Run
from pipelines.privacy.ledger.accounts import Accounts
from pipelines.privacy.ledger.anchors import Anchor, Notary
from pipelines.privacy.ledger.chain import Entry, seal
from pipelines.privacy.ledger.named import Named
from pipelines.privacy.ledger.owner import this_process

Clock = Callable[[], datetime]
TOLERANCE = timedelta(minutes=2)  # by which clocks of honest machines differ
ANCHOR_EVERY = 100  # entries, and every day


def now() -> datetime:
    return datetime.now(UTC)


def written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class Book:
    """`outside` collects the anchors whose copies are due once the transaction is on the disk."""

    connection: Connection
    notary: Notary
    clock: datetime  # what the machine says
    outside: list[Anchor]
    accounts: Accounts

    @property
    def newest(self) -> str:
        """The time of the newest entry; empty before the first."""
        return store.head(self.connection)[2]

    @property
    def clock_is_behind(self) -> bool:
        """By more than clocks may differ."""
        return bool(self.newest) and written(self.clock + TOLERANCE) < self.newest

    def account(self, tenant: str, data_set: str) -> Account:
        return self.accounts.at(self.connection, tenant, data_set)

    def named(self) -> Named:
        return self.accounts.named(self.connection)

    def run(self, run_id: str) -> Run | None:
        """The run that was reserved under this id."""
        return Account.of(store.find(self.connection, run_id=run_id)).runs.get(run_id)

    def step(self, run_id: str, step: str) -> Entry | None:
        """The entry of this step, if it was taken before."""
        found = store.find(self.connection, run_id=run_id, step=step)
        return found[0] if found else None

    def append(self, type: str, fields: dict[str, Any], *, step: str | None = None, mark: bool = False) -> Entry:
        """Write the next entry; `mark` keeps a copy of the head outside. An anchor follows where one is due."""
        entry = self._write(type, fields, step)
        if mark:
            self.outside.append(self._signed(entry))
        if type != "anchor" and self._anchor_is_due(entry):
            self.anchor()
        return entry

    def anchor(self, actor: str = "ledger") -> Entry:
        """Sign the head as it is now, in the ledger and outside."""
        before = store.last(self.connection, "anchor")
        if before is not None:
            self.outside.append(self._signed(before))  # in case its writer was stopped before it could
        count, head, time = store.head(self.connection)
        anchor = self.notary.sign(count=count, head=head, time=time)
        entry = self._write(
            "anchor", {"actor": actor, **{f"anchor_{k}": v for k, v in anchor.to_fields().items()}}, None
        )
        self.outside.append(self._signed(entry))
        return entry

    def _write(self, type: str, fields: dict[str, Any], step: str | None) -> Entry:
        seq, head, newest = store.head(self.connection)
        time = written(self.clock)
        if type == "correction" and fields.get("kind") == "clock":
            newest = ""  # the one entry that may be older than the one before
        elif time < newest and self.clock_is_behind:
            fields = {**fields, "clock": time}
        entry = seal(seq=seq + 1, prev_hash=head, time=max(time, newest), type=type, fields=fields)
        store.append(self.connection, entry, step=step)
        return entry

    def _signed(self, entry: Entry) -> Anchor:
        return self.notary.sign(count=entry.seq, head=entry.hash, time=entry.time)

    def _anchor_is_due(self, entry: Entry) -> bool:
        anchors = store.last(self.connection, "anchor")
        return anchors is None or entry.seq - anchors.seq >= ANCHOR_EVERY or entry.time[:10] != anchors.time[:10]


def owned() -> dict[str, Any]:
    return {"owner": this_process().to_fields()}
