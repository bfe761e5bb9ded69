"""The same ledger on a real PostgreSQL server, started for these tests where its programs are installed."""

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from pipelines.errors import BudgetRefused, LedgerError
from pipelines.privacy.ledger import Charge, Ledger, Policy

ROOT = Path(__file__).parents[4]
PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt/postgresql")


def server_programs() -> Path | None:
    """The folder of initdb and pg_ctl, the newest."""
    on_path = shutil.which("initdb")
    found = [Path(on_path)] if on_path else [file for place in PLACES for file in Path(place).rglob("bin/initdb")]
    return sorted(found)[-1].resolve().parent if found else None


def as_another_than_root(command: list[str]) -> list[str]:
    """PostgreSQL will not run as root."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    programs = server_programs()
    if programs is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL server programs, or no psycopg (pip install 'flockcast[postgres]')")
    folder = Path(tempfile.mkdtemp(prefix="ledger-pg."))  # short enough for a socket, open to the other user
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    data = str(folder / "data")
    trust = ["-A", "trust", "-U", "flockcast", "--no-sync"]
    options = f"-c listen_addresses= -c unix_socket_directories={folder}"  # no port that another test may have
    try:
        run(str(programs / "initdb"), "-D", data, *trust)
        run(str(programs / "pg_ctl"), "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql://flockcast@/postgres?host={folder}"
    finally:
        run(str(programs / "pg_ctl"), "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def run(*command: str) -> None:
    subprocess.run(as_another_than_root(list(command)), check=True, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture
def there(server: str, own_home: Path, hands: Any, policy: Callable[..., Policy]) -> Iterator[Ledger]:
    opened = Ledger.open(server, clock=hands)
    opened.grant(policy(), actor="owner", reason="a year of releases")
    yield opened
    with opened.store.engine.begin() as connection:
        connection.execute(text("DROP TABLE ledger_entries, ledger_lock"))


def test_a_run_goes_its_way_on_postgresql(there: Ledger, charge: Callable[..., Charge]) -> None:
    there.reserve(charge("run"))
    there.start("run")
    entry = there.commit("run", artifact_hash="a" * 64)
    assert there.commit("run", artifact_hash="a" * 64) == entry
    with pytest.raises(BudgetRefused, match="no budget for unit trip"):
        there.reserve(charge("other", unit="trip"))
    assert there.verify().holds


@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger_entries SET type = 'release'", "DELETE FROM ledger_entries", "TRUNCATE ledger_entries"],
)
def test_postgresql_refuses_to_change_or_delete(there: Ledger, statement: str) -> None:
    with pytest.raises(DatabaseError, match="append-only"), there.store.engine.begin() as connection:
        connection.execute(text(statement))


def test_an_edited_row_is_found_on_postgresql(there: Ledger, charge: Callable[..., Charge]) -> None:
    seq = there.reserve(charge("run")).seq
    with there.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE ledger_entries DISABLE TRIGGER ledger_no_change"))
        connection.execute(text(f"UPDATE ledger_entries SET body = replace(body, '20.0', '99.0') WHERE seq = {seq}"))
    assert there.verify().flaw.seq == seq


def test_a_role_with_the_rights_that_the_documents_name_can_keep_the_book_but_not_change_it(
    there: Ledger, server: str, charge: Callable[..., Charge]
) -> None:
    page = (ROOT / "docs" / "privacy-ledger.md").read_text()
    with there.store.engine.begin() as connection:
        for statement in ["CREATE ROLE service LOGIN;", *re.findall(r"^GRANT .*?;", page, flags=re.MULTILINE)]:
            connection.execute(text(statement))
    service = Ledger.open(server.replace("flockcast@", "service@"), clock=there._clock)
    service.reserve(charge("run"))
    assert service.verify().holds
    for statement in ("DELETE FROM ledger_entries", "ALTER TABLE ledger_entries DISABLE TRIGGER ALL"):
        with pytest.raises(DatabaseError, match="permission|owner"), service.store.engine.begin() as connection:
            connection.execute(text(statement))


def test_a_server_that_is_not_there_is_told_without_the_password(server: str, own_home: Path) -> None:
    with pytest.raises(LedgerError, match="can't be opened") as told:
        Ledger.open("postgresql://flockcast:secret@127.0.0.1:1/postgres")
    assert "secret" not in str(told.value)


def test_processes_that_race_on_postgresql_never_overrun_a_budget(
    there: Ledger, server: str, race: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOCKCAST_LEDGER", server)
    race(there, processes=4, rounds=10)
