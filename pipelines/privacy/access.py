"""Who has had forecasts that contain raw counts: a line each, without a value of any.

The file is `access/raw_forecasts.jsonl` in FLOCKCAST_HOME, for its owner's eyes; a forecast that can't be logged is not
given.
"""

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pipelines.errors import StoreError
from pipelines.settings import home

Through = Literal["command", "http", "mlflow"]


@dataclass(frozen=True)
class Access:
    who: str  # the system's user, or the address that asked over HTTP
    through: Through
    model: str
    version: str  # "" where MLflow serves, which does not say
    cutoff: str  # the last step that the forecast knew
    mark: str


def access_log() -> Path:
    return home() / "access" / "raw_forecasts.jsonl"


def log_access(access: Access) -> None:
    """Append a line, on the disk before this returns. Raises StoreError where it can't be written."""
    line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="microseconds"), **asdict(access)}) + "\n"
    file = access_log()
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, line.encode())  # one write, so that lines of several processes never mix
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StoreError(
            f"the forecast contains raw counts and can't be logged in {file} ({error.strerror}), so it is not given; "
            "make that file writable"
        ) from error


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"
