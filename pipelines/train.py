"""Fit a network: early stopping on the validation range, checkpoints that resume bit for bit.

The same task, model, settings and seed give the same weights on the same kind of device, whether or not the run was
killed on the way: batch order comes from the seed and the epoch, and a checkpoint holds weights, optimizer and random
state.
"""

import copy
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import polars as pl
import torch
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from data.appended import Appended
from data.splits import Ranges, sample_starts
from data.windows import Batch, WindowSampler, observed_starts
from models.flow_forecaster import FlowForecaster
from models.forecaster import Scaled, Scaler, penalty
from models.regenn_reference import ReferenceForecaster
from pipelines.checkpoint import Progress, load_progress, save_progress, write_whole
from pipelines.device import choose_device, describe_device
from pipelines.errors import SpecError, TrainingError
from pipelines.fingerprint import code_fingerprint
from pipelines.graphs import static_graph
from pipelines.prepare import Prepared, node_distances
from pipelines.privacy.claim import Protection
from pipelines.privacy.signal import signal_shares
from pipelines.results import History
from pipelines.spec import GraphModel, Model, Training
from pipelines.steps import Plan, Step, one_window_a_step, only, shuffled
from pipelines.zoo import (
    build,
    dead_share,
    fit_scaler,
    is_reference,
    learn_degrees,
    learn_graph,
    relations,
    set_static_graph,
    tell_distances,
    tell_zero,
)

LOSSES: dict[str, Callable[..., Tensor]] = {
    "mae": functional.l1_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}
Forward = Callable[..., Tensor]  # of a batch's inputs
CHECKPOINT, WEIGHTS, HISTORY, RELATIONS = (
    "checkpoint.pt",
    "weights.safetensors",
    "history.json",
    "relations.safetensors",
)
DECISIVE_CODE = (
    "data",
    "models",
    *(f"pipelines/{name}.py" for name in ("checkpoint", "given_graph", "graphs", "prepare", "steps", "train", "zoo")),
    "pipelines/privacy/signal.py",
)
LOOKED_AT = 64  # samples on which a start is judged
UNREADABLE = (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError)  # what a damaged file raises


@dataclass(frozen=True)
class Fitted:
    """A trained network on the CPU, in evaluation mode, and how it came about."""

    network: Scaled
    history: History
    key: str  # of everything that the weights follow from
    reused: bool
    relations: Tensor | None = None  # [K, 2, V, V]: source and target layer of a learned graph after each epoch
    protection: Protection | None = None  # of a network that was trained privately


def training_key(prepared: Prepared, ranges: Ranges, model: Model, training: Training) -> str:
    """A hash of all that decides the weights: data, task, ranges, model, settings, device kind, torch, code."""
    decisive = training.model_dump(mode="json", exclude={"checkpoint_minutes"})
    content = {
        "data": prepared.dataset_version,
        "nodes": prepared.panel.nodes,
        "variables": prepared.panel.variables,
        "shape": asdict(prepared.shape),
        "stride": prepared.stride,
        "country": prepared.country,
        "ranges": asdict(ranges),
        "noise": prepared.noise_variance,
        "given": None if prepared.given is None else hashlib.sha256(prepared.given.numpy().tobytes()).hexdigest(),
        "model": model.model_dump(mode="json"),
        "training": {**decisive, "device": choose_device(training.device).type},
        "code": code_fingerprint(*DECISIVE_CODE),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def fit(
    prepared: Prepared,
    model: Model,
    training: Training,
    *,
    folder: Path,
    ranges: Ranges | None = None,
    say: Callable[[str], None] = print,
) -> Fitted:
    """Train `model`, or take up where a killed run stopped, or give back what an equal run has left in `folder`.

    Raises TrainingError when the loss is no longer a number or memory runs out.
    """
    ranges = ranges or prepared.ranges
    key = training_key(prepared, ranges, model, training)
    place = folder / f"{model.name}-{key}"
    torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    network = new_network(prepared, model, ranges.train_end)
    if (place / HISTORY).exists():
        try:
            weights, history = _loaded(copy.deepcopy(network), place), read_history(place)
            earlier = Fitted(weights, history, key, reused=True, relations=_read_relations(place))
            say(f"{model.label}: unchanged since it was trained, re-used ({key})")
            return earlier
        except UNREADABLE as error:
            say(f"{model.label}: what an equal run left in {place} can't be read, so it is trained anew: {error}")
    try:
        run = Run(prepared, network, model, training, ranges, place, say)
        history = run.to_the_end(model.label)
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"{model.label} ran out of memory on {describe_device(choose_device(training.device))}; "
            f"lower training.batch_size (now {training.batch_size}) or model.hidden"
        ) from None
    write_whole(place / WEIGHTS, lambda file: save_file(run.progress.best_weights, file))
    kept = torch.stack(run.progress.relations) if run.progress.relations else None
    if kept is not None:
        write_whole(place / RELATIONS, lambda file: save_file({"relations": kept}, file))
    write_whole(place / HISTORY, lambda file: write_history(file, history))
    (place / CHECKPOINT).unlink(missing_ok=True)
    return Fitted(_loaded(network, place), history, key, reused=False, relations=kept)


def new_network(prepared: Prepared, model: Model, train_end: int) -> Scaled:
    """An untrained network whose scaler and graph have seen the training range alone. Raises SpecError."""
    try:
        network = build(model, prepared.shape)
    except ValueError as error:
        raise SpecError(f"model: {error}") from None
    values, mask = prepared.series.values, prepared.series.mask
    learn_graph(network, values[:train_end], mask[:train_end])
    if isinstance(model, GraphModel) and not model.is_dynamic:
        set_static_graph(network, static_graph(model, prepared, train_end))
    learn_degrees(network, prepared.series.edges, prepared.shape.edge_delay, train_end)
    scaler = fit_scaler(model, prepared.shape, values, mask, train_end)
    tell_zero(network, scaler)
    distance_km = node_distances(prepared.panel)
    if distance_km is not None:
        tell_distances(network, distance_km)
    return Scaled(network, scaler)


def training_scaler(prepared: Prepared, train_end: int) -> Scaler:
    scaler = Scaler(prepared.shape.nodes, prepared.shape.variables)
    return scaler.fit(prepared.series.values[:train_end], prepared.series.mask[:train_end])


def _weights(prepared: Prepared, train_end: int, device: torch.device) -> Tensor | None:
    """Of each series in the loss [N, F], by how much of it is noise; None where nothing was released with noise."""
    if not prepared.noise_variance:
        return None
    return signal_shares(training_scaler(prepared, train_end).std, prepared.noise_variance).to(device)


def batch_size(training: Training, samples: int) -> int:
    """`auto` gives an epoch at least 16 steps, so that patience counts something, but no batch below 8."""
    return training.batch_size if training.batch_size != "auto" else min(64, max(8, samples // 16))


class Run:
    """One training run: what it needs in reach, and where it stands."""

    def __init__(
        self,
        prepared: Prepared,
        network: Scaled,
        model: Model,
        training: Training,
        ranges: Ranges,
        place: Path,
        say: Callable[[str], None],
        extra: Batch | None = None,  # training samples that are not of the series
    ) -> None:
        self.training, self.place, self.say = training, place, say
        self.device = choose_device(training.device)
        self.network = network.to(self.device)
        # the scaler is no parameter, but it is in the state that is saved and restored
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self.scaled: Forward = torch.compile(network.scaled) if training.compile else network.scaled
        window, horizon = prepared.shape.window, prepared.shape.horizon
        lengths = {"window": window, "horizon": horizon}
        series = prepared.series.near(self.device)
        learn = sample_starts(0, ranges.train_end, stride=prepared.stride, **lengths)
        check = sample_starts(ranges.train_end, ranges.validation_end, **lengths)
        self.learn, self.check = (
            WindowSampler(
                series,
                observed_starts(series, starts, **lengths),
                edge_steps=network.edge_steps,
                target=self.device,
                **lengths,
            )
            for starts in (learn, check)
        )
        if extra is not None:
            self.learn = Appended(self.learn, extra)
        self.batch_size = batch_size(training, len(self.learn))
        self.on_data_scale = training.loss_scale == "data" or is_reference(model)
        self.weights = _weights(prepared, ranges.train_end, self.device)
        self.plan = self._literal_plan() if is_reference(model) else shuffled(len(self.learn), self.batch_size)
        self.steps = len(self.plan(0))
        self.progress = Progress()
        self.saved_at = time.monotonic()
        self._refuse_nothing_to_learn()

    def to_the_end(self, name: str) -> History:
        found = load_progress(self.place / CHECKPOINT, self.network, self.optimizer)
        self.progress = found or Progress()
        if found:
            self.say(
                f"{name}: taking up at epoch {found.epoch + 1}, step {found.step + 1}, where an earlier run stopped"
            )
        elif (self.place / CHECKPOINT).exists():
            self.say(f"{name}: the checkpoint in {self.place} can't be read; starting from the beginning")
        if not found:
            self._look_for_dead_outputs(name)
        with training_bar(name, self.training.epochs, self.say) as show:
            while not self._is_over():
                self._epoch()
                show(self.progress)
                self.save()
        return History(
            epochs=pl.DataFrame(self.progress.rows),
            best_epoch=self.progress.best_epoch,
            device=describe_device(self.device),
            parameters=sum(p.numel() for p in self.network.parameters()),
        )

    def save(self) -> None:
        save_progress(self.place / CHECKPOINT, self.progress, self.network, self.optimizer)
        self.saved_at = time.monotonic()

    def _is_over(self) -> bool:
        done = self.progress
        waited = done.epoch - 1 - done.best_epoch
        return done.epoch >= self.training.epochs or (done.epoch > 0 and waited >= self.training.patience)

    def _epoch(self) -> None:
        done, began = self.progress, time.monotonic()
        rate = self.training.learning_rate * (1 + math.cos(math.pi * done.epoch / self.training.epochs)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        for step in self.plan(self._order_seed())[done.step :]:
            done.loss_sum += self._step(step)
            done.step += 1
            if time.monotonic() - self.saved_at >= 60 * self.training.checkpoint_minutes and done.step < self.steps:
                self.save()
        self._close_epoch(rate, time.monotonic() - began)

    def _step(self, step: Step) -> float:
        batch = self.learn.take(step.samples.to(self.learn.starts.device))
        with self._precision():
            loss = self._loss(batch) if step.nodes is None else self._part_loss(batch, step.nodes)
            whole = loss + penalty(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        whole.backward()
        if self.training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.training.gradient_clip)
        self.optimizer.step()
        value = loss.item()  # without the penalty, to stand beside the validation loss
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} in epoch {self.progress.epoch + 1}, step {self.progress.step + 1}; lower "
                f"training.learning_rate (now {self.training.learning_rate}) or set training.gradient_clip"
            )
        return value

    def _loss(self, batch: Batch) -> Tensor:
        network = self.network.network
        if isinstance(network, FlowForecaster):  # unscaled, and with a likelihood of its own
            x = (batch.x * batch.mask).float()
            return network.loss(x, batch.mask, batch.calendar, batch.y, batch.y_mask)
        return self._error(self.scaled, self.network.scaler, batch, self.weights)

    def _part_loss(self, batch: Batch, nodes: Tensor) -> Tensor:
        part = Scaled(self.network.network, self.network.scaler.of(nodes))
        weights = None if self.weights is None else self.weights[nodes]
        return self._error(part.scaled, part.scaler, only(batch, nodes), weights)

    def _error(self, scaled: Forward, scaler: Scaler, batch: Batch, weights: Tensor | None) -> Tensor:
        """The mean over observed targets, in the spread of each series or in the data's unit."""
        forecast, target = scaled(*batch.inputs).float(), scaler.scale(batch.y)
        if self.on_data_scale:
            forecast, target = scaler.unscale(forecast), batch.y
        each = LOSSES[self.training.loss](forecast, target, reduction="none")
        if weights is not None:
            each = each * weights
        return (each * batch.y_mask).sum() / batch.y_mask.sum().clamp(min=1)  # a group of nodes may have none

    def _close_epoch(self, rate: float, seconds: float) -> None:
        done = self.progress
        loss = self._validation_loss()
        done.rows.append(
            {
                "epoch": done.epoch,
                "train_loss": done.loss_sum / self.steps,
                "validation_loss": loss,
                "learning_rate": rate,
                "seconds": seconds,
            }
        )
        if loss < done.best_loss:
            done.best_loss, done.best_epoch = loss, done.epoch
            done.best_weights = {
                name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()
            }
        found = relations(self.network.network)
        if found is not None:
            done.relations.append(found)
        done.epoch, done.step, done.loss_sum = done.epoch + 1, 0, 0.0

    @torch.no_grad()
    def _validation_loss(self) -> float:
        self.network.eval()
        total, count = 0.0, 0
        for batch in self.check.batches(self.batch_size):
            with self._precision():
                observed = int(batch.y_mask.sum())
                total += self._loss(batch).item() * observed
            count += observed
        loss = total / count
        if not math.isfinite(loss):
            raise TrainingError(
                f"the validation loss is {loss} after epoch {self.progress.epoch + 1}; lower training.learning_rate"
            )
        return loss

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.training.precision == "bfloat16")

    def _order_seed(self) -> int:
        return self.training.seed * 1_000_003 + self.progress.epoch

    def _literal_plan(self) -> Plan:
        """That of the paper's code, where `batch_size` counts nodes."""
        network = cast(ReferenceForecaster, self.network.network)
        size = 32 if self.training.batch_size == "auto" else self.training.batch_size
        parted = network.axes.nodes if network.axes.samples == "nodes" else None
        plan = one_window_a_step(len(self.learn), parted, size)
        network.first_epoch = len(plan(0))
        return plan

    def _look_for_dead_outputs(self, name: str) -> None:
        """A ReLU that only sees negative numbers has no gradient. Raises TrainingError where every one is like that."""
        chosen = torch.linspace(0, len(self.learn) - 1, min(LOOKED_AT, len(self.learn))).long()
        batch = self.learn.take(chosen.to(self.learn.starts.device))
        scaled = self.network.scaler.scale(batch.x) * batch.mask
        share = dead_share(self.network.network, scaled, batch.mask, batch.calendar)
        if share == 1:
            raise TrainingError(
                f"{name} can't learn from this start: its ReLU output is zero for every window and has no gradient; "
                f"try another training.seed (now {self.training.seed}), or model.output = 'identity'"
            )
        if share > 0:
            self.say(f"note: {share:.0%} of the outputs of {name} are zero for every window at the start (dead ReLU)")

    def _refuse_nothing_to_learn(self) -> None:
        for name, sampler in (("training", self.learn), ("validation", self.check)):
            if len(sampler) == 0:
                raise TrainingError(f"the {name} range holds no sample with an observed target; change task.split")


@contextmanager
def training_bar(
    name: str, epochs: int, say: Callable[[str], None], words: Callable[[Progress], str] | None = None
) -> Iterator[Callable[[Progress], None]]:
    """A bar with loss and time left on a terminal; elsewhere about ten lines a run. `words` say where a run stands."""
    words = words or _loss_words
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: _say_epoch(name, epochs, done, say, words)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[loss]}"))
    with Bar(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(name, total=epochs, loss="")
        yield lambda done: bar.update(task, completed=done.epoch, loss=words(done))
    say(f"{name}: trained")


def _say_epoch(
    name: str, epochs: int, done: Progress, say: Callable[[str], None], words: Callable[[Progress], str]
) -> None:
    if done.epoch == 1 or done.epoch % max(1, epochs // 10) == 0:
        say(f"{name}: epoch {done.epoch}/{epochs}, {words(done)}")


def _loss_words(done: Progress) -> str:
    row = done.rows[-1]
    return f"loss {row['train_loss']:.4f}, validation {row['validation_loss']:.4f} (best {done.best_loss:.4f})"


def _loaded(network: Scaled, place: Path) -> Scaled:
    network.cpu().load_state_dict(load_file(place / WEIGHTS))
    return network.eval()


def _read_relations(place: Path) -> Tensor | None:
    return load_file(place / RELATIONS)["relations"] if (place / RELATIONS).exists() else None


def write_history(file: Path, history: History) -> None:
    content = {
        "epochs": history.epochs.to_dicts(),
        "best_epoch": history.best_epoch,
        "device": history.device,
        "parameters": history.parameters,
    }
    file.write_text(json.dumps(content))


def read_history(place: Path) -> History:
    content = json.loads((place / HISTORY).read_text())
    return History(**{**content, "epochs": pl.DataFrame(content["epochs"])})
