"""Files that are whole or absent, and the state of a training run in one of them."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import polars as pl
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from pipelines.errors import StoreError

FULL_DISK = (OSError, RuntimeError, SafetensorError, pl.exceptions.PolarsError)  # as plain Python, torch, ... report it
FULL_BYTES = 64 * 1024  # of what is left when a block of a file no longer fits


@dataclass
class Progress:
    """Where a training run stands, apart from weights, optimizer and random state."""

    epoch: int = 0
    step: int = 0  # batches done in this epoch
    loss_sum: float = 0.0  # over those batches
    best_loss: float = float("inf")
    best_epoch: int = -1
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)  # the history so far
    relations: list[Tensor] = field(default_factory=list)  # of a learned graph, [2, V, V] an epoch


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside `path`, then rename it: a kill leaves the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except FULL_DISK as error:
        raise StoreError(f"can't write {path}: {_reason(error, path.parent)}") from error
    finally:
        if beside.exists():
            beside.unlink()


def _reason(error: Exception, folder: Path) -> str:
    """In a person's words: on a full disk torch speaks of positions in its own file."""
    told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if told == os.strerror(errno.ENOSPC) or (folder.is_dir() and shutil.disk_usage(folder).free < FULL_BYTES):
        return "the disk is full; free some space, or choose another FLOCKCAST_HOME"
    return f"{told}; choose another place (for the store, set FLOCKCAST_HOME)"


def save_progress(path: Path, progress: Progress, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    content = {
        "progress": asdict(progress),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    write_whole(path, lambda file: torch.save(content, file))


def load_progress(path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> Progress | None:
    """Put everything back as it was, random state included. None where there is no checkpoint, or a damaged one."""
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, EOFError, RuntimeError, UnpicklingError):
        return None
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    torch.set_rng_state(content["random"])
    if content["cuda_random"]:
        torch.cuda.set_rng_state_all(content["cuda_random"])
    return Progress(**content["progress"])
