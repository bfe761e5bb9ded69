"""Whose run it is: a process, told apart from every later one that gets its number.

A process is gone only if this machine can see so. Of another machine, or of a container that hides its processes,
nothing is known, and unknown is alive.
"""

import getpass
import os
import socket
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

BOOT = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE = Path("/proc/self/ns/pid")


@dataclass(frozen=True)
class Owner:
    host: str
    namespace: str  # in which `pid` is counted
    boot: str  # of the machine, since which `started` is counted
    pid: str
    started: str

    def to_fields(self) -> dict[str, str]:
        return asdict(self)

    @property
    def name(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether this process has surely ended."""
        me = this_process()
        if (self.host, self.namespace) != (me.host, me.namespace) or not self.started:
            return False
        return self.boot != me.boot or started(int(self.pid)) != self.started


def user() -> str:
    """Who is logged in; "unknown" where the system can't say, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def this_process() -> Owner:
    pid = os.getpid()
    return Owner(*_machine(), str(pid), started(pid) or "")


@cache
def _machine() -> tuple[str, str, str]:
    namespace = os.readlink(NAMESPACE) if NAMESPACE.exists() else ""
    return socket.gethostname(), namespace, BOOT.read_text().strip() if BOOT.exists() else ""


def started(pid: int) -> str | None:
    """When process `pid` began, in words of the system; None if there is none, or only its remains."""
    if BOOT.exists():
        try:
            state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if state in "ZX" else rest[18]
    found = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None
