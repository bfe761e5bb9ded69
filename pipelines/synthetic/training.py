"""Train a network for some steps or minutes and keep what was best in validation.

Equal settings give equal weights, bit for bit on a CPU, unless the budget is one of minutes.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import mean

import polars as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from models.forecaster import penalty
from pipelines.errors import SpecError, TrainingError
from pipelines.synthetic.aggregators import NAMES

Say = Callable[[str], None]


@dataclass(frozen=True)
class Training:
    """Raises SpecError for what can't be trained. Of `steps` and `minutes` one is None."""

    aggregation: str
    assoc_weight: float = 0.0
    width: int = 64
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    steps: int | None = None
    minutes: float | None = None
    check_every: int = 250  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        if self.aggregation not in NAMES:
            raise SpecError(f"no aggregation is called {self.aggregation!r}; there are {', '.join(NAMES)}")
        if self.assoc_weight and self.aggregation != "lcm":
            raise SpecError(f"--assoc-weight is of lcm alone; {self.aggregation} has no such penalty, so leave it out")
        if not 0 <= self.assoc_weight < math.inf:
            raise SpecError(f"--assoc-weight is {self.assoc_weight}; it is a weight of 0 or more")
        if (self.steps is None) == (self.minutes is None):
            raise SpecError("a training ends after --steps or after --minutes; give one of the two")
        positive = ("width", "batch_size", "learning_rate", "steps", "minutes", "check_every")
        for name in positive:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise SpecError(f"--{name.replace('_', '-')} is {value}; it has to be above zero")

    @property
    def name(self) -> str:
        return self.aggregation + (f" {self.assoc_weight:g}" if self.assoc_weight else "")


@dataclass(frozen=True)
class Course:
    """How a training went: a row a check of step, loss, validation, seconds."""

    checks: pl.DataFrame
    steps: int
    best_step: int
    seconds: float
    parameters: int


def train(
    network: nn.Module,
    training: Training,
    *,
    loss: Callable[[int], Tensor],
    check: Callable[[], float],
    say: Say,
) -> Course:
    """Minimise `loss` of a step plus the network's penalty; end with the weights of the lowest `check`.

    Raises TrainingError when the loss is no longer a number.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    rows: list[dict[str, float]] = []
    losses: list[float] = []
    best, began, step = Best(), time.monotonic(), 0
    with training_bar(f"{training.name} seed {training.seed}", say) as show:
        while not _is_over(training, step, began):
            losses.append(_step(network, optimizer, loss, step))
            step += 1
            if step % training.check_every == 0 or _is_over(training, step, began):
                found, seconds = best.look(network, step, check), time.monotonic() - began
                rows.append({"step": step, "loss": mean(losses), "validation": found, "seconds": seconds})
                losses = []
                show(_share(training, step, seconds), rows[-1])
    network.load_state_dict(best.weights)
    network.eval()
    parameters = sum(p.numel() for p in network.parameters())
    return Course(pl.DataFrame(rows), step, best.step, time.monotonic() - began, parameters)


@dataclass
class Best:
    """The weights of the lowest validation so far; of equal ones, the first."""

    lowest: float = math.inf
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def look(self, network: nn.Module, step: int, check: Callable[[], float]) -> float:
        network.eval()
        found = check()
        if not math.isfinite(found):
            raise TrainingError(f"the validation is {found} after step {step}; lower --learning-rate or --assoc-weight")
        if not self.weights or found < self.lowest:
            self.lowest, self.step, self.weights = found, step, copy.deepcopy(network.state_dict())
        return found


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[int], Tensor], step: int) -> float:
    network.train()
    task = loss(step)
    optimizer.zero_grad(set_to_none=True)
    (task + penalty(network)).backward()
    optimizer.step()
    value = task.item()
    if not math.isfinite(value):
        raise TrainingError(f"the loss is {value} in step {step + 1}; lower --learning-rate or --assoc-weight")
    return value


def _is_over(training: Training, step: int, began: float) -> bool:
    if training.steps is not None:
        return step >= training.steps
    return step > 0 and time.monotonic() - began >= 60 * (training.minutes or 0)


def _share(training: Training, step: int, seconds: float) -> float:
    return min(1.0, step / training.steps if training.steps else seconds / (60 * (training.minutes or 1)))


@contextmanager
def training_bar(name: str, say: Say) -> Iterator[Callable[[float, dict[str, float]], None]]:
    """To be called with the share that is done: a bar on a terminal, elsewhere about ten lines a run."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _teller(name, say)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=1.0, words="")
        yield lambda share, row: bar.update(task, completed=share, words=_words(row))
    say(f"{name}: trained")


def _teller(name: str, say: Say) -> Callable[[float, dict[str, float]], None]:
    told = 0

    def tell(share: float, row: dict[str, float]) -> None:
        nonlocal told
        if int(10 * share) > told:
            told = int(10 * share)
            say(f"{name}: {_words(row)}")

    return tell


def _words(row: dict[str, float]) -> str:
    return f"step {row['step']:,}, loss {row['loss']:.4f}, validation {row['validation']:.4f}"
