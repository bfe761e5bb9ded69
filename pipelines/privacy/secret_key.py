"""The key that decides which trips of a person count. Whoever has it can tell which trips a release left out."""

import os
import secrets
from pathlib import Path

from pipelines import settings
from pipelines.errors import StoreError

BYTES = 32


def contribution_key() -> bytes:
    """The key in FLOCKCAST_HOME, made by the first who asks; for its owner's eyes alone. Raises StoreError."""
    file = settings.home() / "contribution.key"
    try:
        return _whole(file) if file.exists() else _made(file)
    except OSError as error:
        raise StoreError(f"the key {file} can't be read or made: {error.strerror}") from None


def _made(file: Path) -> bytes:
    """Whole or not at all: of two makers at once, one's file stays and both read that."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{secrets.token_hex(8)}")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(secrets.token_bytes(BYTES))
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(new, file)
    except FileExistsError:
        pass
    finally:
        new.unlink()
    return _whole(file)


def _whole(file: Path) -> bytes:
    key = file.read_bytes()
    if len(key) != BYTES:
        raise StoreError(f"{file} is no key of {BYTES} bytes; put the right one back, or remove it to have a new one")
    if file.stat().st_mode & 0o077:
        raise StoreError(f"{file} can be read by others, who could tell whose trips were left out; chmod 600 {file}")
    return key
