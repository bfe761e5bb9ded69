"""Peak memory of a step, read from /proc: Linux alone."""

import ctypes
from collections.abc import Callable
from pathlib import Path


def peak_memory(step: Callable[[], None]) -> float:
    """MiB beyond what the process held before, at its highest."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # or what an earlier step has freed would hide what this one takes
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far becomes the present
    before = resident("VmRSS")
    step()
    return (resident("VmHWM") - before) / 1024


def resident(field: str) -> int:
    """KiB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
