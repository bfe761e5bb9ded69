"""Which code made a result: a cached result counts only for the code that made it."""

import hashlib
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("data", "models", "pipelines")
CODE = (*ROOMS, "flows")


@cache
def code_fingerprint(*rooms: str) -> str:
    """A hash of the source of these rooms or single files (of all rooms that compute, when none is named)."""
    digest = hashlib.sha256()
    for room in rooms or ROOMS:
        place = ROOT / room
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def git_revision() -> str:
    """The commit of a checkout, `+` behind it where files differ from it; "unknown" outside one."""
    try:
        revision = _git("rev-parse", "HEAD")
        return revision + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def code_revision() -> str:
    """The commit whose code this is, `+` behind it where code was changed or added since.

    Of an installed package the version and a hash of its code: an enclosing repository is somebody else's. Data,
    documents and whatever else lies in the checkout change no result.
    """
    if not (ROOT / ".git").exists():
        return f"flockcast {version('flockcast')} ({code_fingerprint(*CODE)})"
    try:
        changed = _git("status", "--porcelain", "--untracked-files=all", "--", *CODE).splitlines()
        mine = [line for line in changed if not line.startswith("??") or line.endswith(".py")]
        return _git("rev-parse", "HEAD") + ("+" if mine else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
