"""The accounts that a process has read, so that each step reads only what came since."""

from dataclasses import dataclass, field

from sqlalchemy import Connection

from pipelines.privacy.ledger import store
from pipelines.privacy.ledger.account import Account
from pipelines.privacy.ledger.chain import GENESIS
from pipelines.privacy.ledger.named import Named, read_on


@dataclass
class Reading:
    """`seq` and `hash` are of the last entry of the data set that `account` holds."""

    account: Account = field(default_factory=Account)
    seq: int = 0
    hash: str = GENESIS


@dataclass
class Accounts:
    """By tenant and data set. Not to be changed by who asks for one."""

    read: dict[tuple[str, str], Reading] = field(default_factory=dict)
    _named: Named = field(default_factory=Named)

    def at(self, connection: Connection, tenant: str, data_set: str) -> Account:
        """As the ledger is now. An account whose last entry was rolled back is read from the beginning."""
        reading = self.read.pop((tenant, data_set), None)  # back only when all of it was taken in
        if reading is None or not store.holds(connection, reading.seq, reading.hash):
            reading = Reading()
        for entry in store.since(connection, reading.seq, tenant=tenant, data_set=data_set):
            reading.account.add(entry)
            reading.seq, reading.hash = entry.seq, entry.hash
        self.read[tenant, data_set] = reading
        return reading.account

    def named(self, connection: Connection) -> Named:
        """Which files belong to which data sets."""
        named, self._named = self._named, Named()
        self._named = read_on(connection, named)
        return self._named
