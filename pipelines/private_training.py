"""Fit a network privately: reserve, take exactly the steps that were paid for, prove it, commit, publish.

DP-SGD on raw windows (`pipelines.privacy.private_step`): a fixed number of steps whose last weights are taken, without
a look at a validation loss, and without a training loss, since both are figures of raw data. What an equal run left is
re-used, which costs nothing. A run that was killed is not taken up again: what it had announced stays spent, and the
next one is charged anew, for its noise would be other noise.
"""

import hashlib
import json
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import load_file, save_file

from data.appended import Appended
from data.splits import Ranges
from data.windows import Batch, WindowSampler
from models.clipped_sum import Way
from models.forecaster import Scaled, edge_steps
from models.sample_check import WAYS
from models.window_losses import WindowLosses
from pipelines.checkpoint import write_whole
from pipelines.device import choose_device, describe_device
from pipelines.errors import PrivacyError, TrainingError
from pipelines.fingerprint import code_fingerprint
from pipelines.prepare import Prepared
from pipelines.privacy.claim import Protection
from pipelines.privacy.ledger.ledger import Ledger
from pipelines.privacy.private_network import gradient_way, parts_of, private_network
from pipelines.privacy.private_step import PrivateStep, in_chunks
from pipelines.privacy.randomness import Randomness, SystemRandomness
from pipelines.privacy.remedy import reserve
from pipelines.privacy.training_plan import TrainingPlan, charge_of, plan_training
from pipelines.results import History
from pipelines.spec import Spec
from pipelines.train import HISTORY, LOSSES, UNREADABLE, WEIGHTS, Fitted, read_history, training_key, write_history

PROTECTION = "protection.json"
DECISIVE_CODE = (
    "pipelines/private_training.py",
    *(
        f"pipelines/privacy/{name}.py"
        for name in ("private_network", "private_step", "randomness", "training_plan", "window_sampling")
    ),
)
AHEAD = 50  # steps that are announced to the ledger at a time
AT_ONCE = 256  # windows of a step that are in memory together
Say = Callable[[str], None]


def fit_privately(
    spec: Spec,
    prepared: Prepared,
    *,
    folder: Path,
    ranges: Ranges | None = None,
    ledger: Ledger | None = None,
    randomness: Randomness | None = None,
    extra: Batch | None = None,
    run_id: str | None = None,
    say: Say = print,
) -> Fitted:
    """Train `spec.model` as `spec.privacy` promises, or give back what an equal run has left in `folder`.

    `extra` are windows beside those of the data, for audits, each drawn as any other; nothing of such a run is re-used.
    Its `run_id` in the ledger is then fixed beforehand, for an audit is designed before its run starts.
    Raises SpecError for what can't be promised, BudgetRefused where the ledger refuses, PrivacyError where what was
    done is not what was promised; the first two before anything is spent.
    """
    ranges = ranges or prepared.ranges
    torch.set_num_threads(spec.training.threads)
    torch.manual_seed(spec.training.seed)
    network = private_network(spec, prepared)
    key = private_key(spec, prepared, ranges)
    place = folder / f"{spec.model.name}-private-{key}"
    if extra is None and (place / HISTORY).exists():
        say(f"{spec.model.label}: unchanged since it was trained privately, re-used ({key}); nothing is spent")
        return _stored(network, place, key)
    plan = plan_training(spec, prepared, ranges)
    run = PrivateRun(spec, prepared, ranges, plan, network, randomness or SystemRandomness(), extra)
    run_id = run_id or f"{spec.name}-{key}-{secrets.token_hex(4)}"
    return run.to_the_end(ledger or Ledger.open(), run_id, place, key, say)


def private_key(spec: Spec, prepared: Prepared, ranges: Ranges) -> str:
    """A hash of all that decides the weights, but for the noise."""
    assert spec.privacy is not None
    plain = training_key(prepared, ranges, spec.model, spec.training)
    own = spec.privacy.model_dump(mode="json"), code_fingerprint(*DECISIVE_CODE)
    return hashlib.sha256(json.dumps([plain, *own]).encode()).hexdigest()[:16]


@dataclass
class PrivateRun:
    """One private training, all that it needs in reach."""

    spec: Spec
    prepared: Prepared
    ranges: Ranges
    plan: TrainingPlan
    network: Scaled
    randomness: Randomness
    extra: Batch | None = None

    def __post_init__(self) -> None:
        training = self.spec.training
        self.device = choose_device(training.device)
        self.network.to(self.device)
        losses = WindowLosses(self.network, LOSSES[training.loss], on_data_scale=training.loss_scale == "data")
        self.way: Way = WAYS[gradient_way(losses, self.prepared.shape)]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self.step = PrivateStep(
            losses, self.optimizer, self.plan.mechanism, self.way, self.randomness, expected=self.plan.sampler.expected
        )

    def to_the_end(self, ledger: Ledger, run_id: str, place: Path, key: str, say: Say) -> Fitted:
        """Reserve, train, prove, commit and publish, in the order in which a kill never hides a spend."""
        charge = charge_of(self.spec, self.prepared, self.ranges, self.plan, run_id=run_id, randomness=self.randomness)
        reserve(ledger, charge)
        ledger.start(run_id, sources=charge.sources)
        say(f"{self.spec.model.label}: {self.plan.claim.sentence}")
        history, charged = self._train(ledger, run_id, say)
        try:
            self.step.prove(charged)
        except PrivacyError:
            ledger.commit(run_id, steps=self.step.taken, artifact_hash="failed")
            raise
        return self._published(ledger, run_id, place, key, history)

    def _train(self, ledger: Ledger, run_id: str, say: Say) -> tuple[History, int]:
        """All steps, and how many of them were announced."""
        windows, total, charged = self._windows(), self.plan.mechanism.steps, 0
        rows: list[dict[str, float]] = []
        self.network.train()
        began = time.monotonic()
        for number in range(total):
            if number == charged:
                charged = min(charged + AHEAD, total)
                ledger.progress(run_id, charged)
            rate = self._learning_rate(number)
            rows_drawn = self._draw(len(windows))
            self.step(in_chunks(rows_drawn, AT_ONCE, lambda part: parts_of(windows.take(part))))
            if charged == number + 1:  # a row wherever the ledger was told
                seconds, began = time.monotonic() - began, time.monotonic()
                rows.append(_row(len(rows), rate, seconds))
                say(f"{self.spec.model.label}: step {number + 1:,} of {total:,}")
        return self._history(rows), charged

    def _windows(self) -> WindowSampler:
        shape = self.prepared.shape
        windows = WindowSampler(
            self.prepared.series.near(self.device),
            torch.tensor(list(self.plan.starts)),
            window=shape.window,
            horizon=shape.horizon,
            edge_steps=edge_steps(self.network),
            target=self.device,
        )
        return windows if self.extra is None else Appended(windows, self.extra)

    def _draw(self, windows: int) -> torch.Tensor:
        """Positions of the windows of one step; those of `extra` are drawn at the same rate."""
        drawn = self.plan.sampler.draw(self.randomness)
        beside = self.randomness.uniform(windows - len(self.plan.starts)) < self.plan.sampler.sample_rate
        return torch.cat([drawn, len(self.plan.starts) + beside.nonzero()[:, 0]])

    def _learning_rate(self, step: int) -> float:
        """Along a cosine from the first step to the last."""
        share = step / self.plan.mechanism.steps
        rate = self.spec.training.learning_rate * (1 + math.cos(math.pi * share)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _history(self, rows: list[dict[str, float]]) -> History:
        return History(
            epochs=pl.DataFrame(rows),
            best_epoch=len(rows) - 1,
            device=describe_device(self.device),
            parameters=sum(p.numel() for p in self.network.parameters()),
        )

    def _published(self, ledger: Ledger, run_id: str, place: Path, key: str, history: History) -> Fitted:
        """The weights under a name of their own, the commit of their hash, then the name that others look for."""
        network = self.network.cpu().eval()
        pending = place / f"{run_id}.safetensors"
        write_whole(pending, lambda file: save_file(network.state_dict(), file))
        digest = hashlib.sha256(pending.read_bytes()).hexdigest()
        entry = ledger.commit(run_id, steps=self.step.taken, artifact_hash=digest)
        self._refuse_diverged()
        protection = Protection(self.plan.claim, entry.seq, entry.hash, run_id, serving="raw_input_internal")
        if self.extra is None:
            write_whole(place / PROTECTION, partial(_write, protection.to_json()))
            pending.replace(place / WEIGHTS)
            write_whole(place / HISTORY, lambda file: write_history(file, history))
        else:
            pending.unlink()
        return Fitted(network, history, key, reused=False, protection=protection)

    def _refuse_diverged(self) -> None:
        if not all(bool(p.isfinite().all()) for p in self.network.parameters()):
            raise TrainingError(
                f"the weights are no numbers after {self.step.taken:,} private steps, which are spent; lower "
                f"training.learning_rate (now {self.spec.training.learning_rate})"
            )


def _write(text: str, file: Path) -> None:
    file.write_text(text)


def _row(number: int, rate: float, seconds: float) -> dict[str, float]:
    """Of the history. There is no loss in it: of raw data it would be one more release."""
    return {
        "epoch": number,
        "train_loss": math.nan,
        "validation_loss": math.nan,
        "learning_rate": rate,
        "seconds": seconds,
    }


def _stored(network: Scaled, place: Path, key: str) -> Fitted:
    """Raises TrainingError for damaged files: to train anew is a new spend, which nobody has asked for."""
    try:
        network.load_state_dict(load_file(place / WEIGHTS))
        protection = Protection.from_json((place / PROTECTION).read_text())
        return Fitted(network.eval(), read_history(place), key, reused=True, protection=protection)
    except UNREADABLE as error:
        raise TrainingError(
            f"what an equal private run left in {place} can't be read: {error}; remove the folder to train anew, which "
            "is charged anew"
        ) from None
