"""Signed heads of the ledger: what shows that its end was cut off, which a chain of hashes alone can't.

An anchor says how many entries there were and the hash of the last. Anchors are entries too, and a copy of each lies
in a file outside the database, one a line, beside one for every grant and every finished run. Signed with HMAC-SHA-256
under a key that only the owner of FLOCKCAST_HOME reads; keep copies of that file on another machine, since who can
write both database and home can lie in both.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pipelines import settings
from pipelines.errors import LedgerError
from pipelines.privacy.ledger.chain import canonical


@dataclass(frozen=True)
class Anchor:
    ledger: str
    count: str
    head: str
    time: str
    key: str  # which one, not the key itself
    signature: str

    def to_fields(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Kept:
    anchors: list[Anchor]
    end: int  # byte up to which the file was read


@dataclass(frozen=True)
class Notary:
    """Signs for one ledger, and keeps the copies."""

    ledger: str  # the database's name
    key: bytes
    file: Path

    @classmethod
    def of(cls, ledger: str) -> "Notary":
        name = hashlib.sha256(ledger.encode()).hexdigest()[:16]
        return cls(ledger, _key(settings.ledger_key()), settings.anchors() / f"{name}.jsonl")

    @property
    def key_name(self) -> str:
        return hashlib.sha256(b"name of " + self.key).hexdigest()[:12]

    def sign(self, *, count: int, head: str, time: str) -> Anchor:
        said = {"ledger": self.ledger, "count": str(count), "head": head, "time": time, "key": self.key_name}
        return Anchor(**said, signature=self._signature(said))

    def signed(self, anchor: Anchor) -> bool:
        said = {name: value for name, value in anchor.to_fields().items() if name != "signature"}
        return anchor.key == self.key_name and hmac.compare_digest(self._signature(said), anchor.signature)

    def keep(self, anchor: Anchor) -> None:
        """Write the copy outside the database, to the disk; whole lines, so that several processes may."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", buffering=0) as out:
            line = (canonical(anchor.to_fields()) + "\n").encode()
            out.write(line if _ends_whole(out) else b"\n" + line)
            os.fsync(out.fileno())

    def kept(self, *, after: int = 0) -> "Kept":
        """The copies from byte `after` on. Raises LedgerError for a line that this key did not sign."""
        if not self.file.exists():
            return Kept([], 0)
        with self.file.open("rb") as copies:
            copies.seek(after)
            text = copies.read()
        whole = text[: text.rfind(b"\n") + 1]  # another process may be writing the next line
        lines = [line for line in whole.decode(errors="replace").splitlines() if not _is_torn(line)]
        return Kept([self._read(line) for line in lines], after + len(whole))

    def _read(self, line: str) -> Anchor:
        anchor = _parse(line)
        if anchor is None or not self.signed(anchor):
            raise LedgerError(f"{self.file} has a line that {settings.ledger_key()} did not sign: {line[:60]}")
        return anchor

    def _signature(self, said: Mapping[str, str]) -> str:
        return hmac.new(self.key, canonical(dict(said)).encode(), hashlib.sha256).hexdigest()


def _ends_whole(file: IO[bytes]) -> bool:
    """Whether the last line has its end; a writer that was stopped, or a full disk, leaves half of one."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _is_torn(line: str) -> bool:
    """Half a line says nothing, as if it had never been written: `sound.copies_flaw` finds what is missing."""
    return not line.endswith("}")


def _parse(line: str) -> Anchor | None:
    try:
        return Anchor(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _key(file: Path) -> bytes:
    """The service's key, made at first use. The first of several makers wins, and nobody reads half a key."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(secrets.token_hex(32))
        try:
            os.link(fresh, file)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if file.stat().st_mode & 0o077:
        raise LedgerError(f"others may read {file}, the key that the ledger is signed with; chmod 600 {file}")
    return bytes.fromhex(file.read_text().strip())
