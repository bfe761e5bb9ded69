"""The table that entries live in, on SQLite or PostgreSQL: one writer at a time, nothing changed, nothing deleted.

The columns beside `body` are there to find a line; only `body` is hashed, and `verify` compares the two.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    Select,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from pipelines.errors import LedgerError, PolicyError
from pipelines.privacy.ledger.chain import GENESIS, Entry, parse

WAIT_SECONDS = 120  # for other writers

metadata = MetaData()
entries = Table(
    "ledger_entries",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False, unique=True),
    Column("prev_hash", Text, nullable=False, unique=True),  # two heirs of one line would be a fork
    Column("type", Text, nullable=False, index=True),
    Column("tenant", Text, nullable=False, index=True),
    Column("data_set", Text, nullable=False, index=True),
    Column("run_id", Text, nullable=False, index=True),
    Column("step", Text),  # with run_id, what makes a repeated request the same request
    Column("body", Text, nullable=False),
    UniqueConstraint("run_id", "step"),
)
lock = Table("ledger_lock", metadata, Column("id", Integer, primary_key=True, autoincrement=False))

REFUSES = "the privacy ledger is append-only; a mistake is mended by a new entry of type correction"
SQLITE = (
    f"""CREATE TRIGGER IF NOT EXISTS ledger_no_update BEFORE UPDATE ON ledger_entries
        BEGIN SELECT RAISE(ABORT, '{REFUSES}'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS ledger_no_delete BEFORE DELETE ON ledger_entries
        BEGIN SELECT RAISE(ABORT, '{REFUSES}'); END""",
    # INSERT OR REPLACE deletes without asking the trigger above
    f"""CREATE TRIGGER IF NOT EXISTS ledger_only_append BEFORE INSERT ON ledger_entries
        WHEN NEW.seq <= (SELECT COALESCE(MAX(seq), 0) FROM ledger_entries)
        BEGIN SELECT RAISE(ABORT, '{REFUSES}'); END""",
)
POSTGRES = (
    f"""CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{REFUSES}'; END $$""",
    """CREATE OR REPLACE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse()""",
    "INSERT INTO ledger_lock (id) VALUES (1) ON CONFLICT DO NOTHING",
    # of whoever is not the owner of the table
    "REVOKE UPDATE, DELETE, TRUNCATE ON ledger_entries FROM PUBLIC",
)


class Store:
    """Connections to one ledger. Raises PolicyError for an address that is no SQLite and no PostgreSQL database."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.name = _name(self.engine)
        try:
            self._create()
        except DBAPIError as error:
            raise LedgerError(f"the ledger {self.name} can't be opened: {error.orig}") from None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees the ledger as it was when it began."""
        postgres = self.engine.dialect.name == "postgresql"
        options = {"isolation_level": "REPEATABLE READ"} if postgres else {}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that nobody else writes beside; on the disk when it is left."""
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if self.engine.dialect.name == "postgresql":
                connection.execute(select(lock.c.id).with_for_update())
            yield connection

    def _create(self) -> None:
        sqlite = self.engine.dialect.name == "sqlite"
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(7106)"))  # two creators at once
            if connection.dialect.has_table(connection, entries.name):
                return
            metadata.create_all(connection)
            for statement in SQLITE if sqlite else POSTGRES:
                connection.exec_driver_sql(statement)


def append(connection: Connection, entry: Entry, *, step: str | None) -> None:
    where = {name: entry.get(name) for name in ("tenant", "run_id")}
    connection.execute(
        insert(entries).values(
            seq=entry.seq,
            hash=entry.hash,
            prev_hash=entry.prev_hash,
            type=entry.type,
            data_set=entry.get("dataset_id"),
            step=step,
            body=entry.body,
            **where,
        )
    )


def head(connection: Connection) -> tuple[int, str, str]:
    """Sequence number, hash and time of the newest entry."""
    row = connection.execute(select(entries.c.body, entries.c.hash).order_by(entries.c.seq.desc()).limit(1)).first()
    if row is None:
        return 0, GENESIS, ""
    newest = _read(row)
    return newest.seq, newest.hash, newest.time


def find(connection: Connection, **columns: str) -> list[Entry]:
    """Entries whose columns have these values, oldest first."""
    return since(connection, 0, **columns)


def since(connection: Connection, seq: int, /, **columns: str) -> list[Entry]:
    """The same, of entries behind `seq`."""
    query = select(entries.c.body, entries.c.hash).where(entries.c.seq > seq).order_by(entries.c.seq)
    for name, value in columns.items():
        query = query.where(entries.c[name] == value)
    return [_read(row) for row in connection.execute(query)]


def _read(row: Row[Any]) -> Entry:
    try:
        return parse(row.body, row.hash)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LedgerError(
            f"the ledger has a line that can't be read: {row.body[:80]!r}; flockcast budget verify says where"
        ) from None


def last(connection: Connection, type: str) -> Entry | None:
    query = select(entries.c.body, entries.c.hash).where(entries.c.type == type).order_by(entries.c.seq.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else _read(row)


def holds(connection: Connection, seq: int, hash: str) -> bool:
    return connection.execute(select(entries.c.hash).where(entries.c.seq == seq)).scalar() == hash


def hashes(connection: Connection, wanted: set[int]) -> dict[int, str]:
    """The hashes of these entries, of those that exist."""
    found: dict[int, str] = {}
    for some in batched(sorted(wanted), 500):
        query = select(entries.c.seq, entries.c.hash).where(entries.c.seq.in_(some))
        found |= {row.seq: row.hash for row in connection.execute(query)}
    return found


def batched(numbers: list[int], size: int) -> Iterator[list[int]]:
    for at in range(0, len(numbers), size):
        yield numbers[at : at + size]


def rows(connection: Connection, *, after: int = 0) -> Iterator[Row[Any]]:
    query: Select[Any] = select(entries).where(entries.c.seq > after).order_by(entries.c.seq)
    yield from connection.execute(query.execution_options(yield_per=500))


def _engine(url: str) -> Engine:
    try:
        address = make_url(url)
        if address.get_backend_name() == "postgresql" and address.drivername == "postgresql":
            address = address.set(drivername="postgresql+psycopg")
        if address.get_backend_name() == "sqlite":
            _prepare_file(address.database)
            return _sqlite(address)
        if address.get_backend_name() == "postgresql":
            return create_engine(address, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError):
        pass
    except ModuleNotFoundError as missing:
        raise PolicyError(f"a ledger on PostgreSQL needs {missing.name}: pip install 'flockcast[postgres]'") from None
    raise PolicyError("FLOCKCAST_LEDGER names no SQLite or PostgreSQL database, as sqlite:////srv/ledger.db does")


def _prepare_file(database: str | None) -> None:
    """A ledger says who did what: for its owner's eyes."""
    if not database or database == ":memory:":
        raise PolicyError("a ledger in memory forgets; name a file, as sqlite:////srv/ledger.db does")
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o600))


def _sqlite(address: Any) -> Engine:
    engine = create_engine(address, poolclass=NullPool, connect_args={"timeout": WAIT_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _name(engine: Engine) -> str:
    """The database, without who logs in to it."""
    if engine.dialect.name == "sqlite":
        return f"sqlite:///{Path(str(engine.url.database)).absolute()}"
    return f"postgresql://{engine.url.host or ''}:{engine.url.port or 5432}/{engine.url.database}"
