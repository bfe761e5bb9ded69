"""Fit a network on a dynamic graph: one optimizer step a window, windows in the order of time.

Pareja et al., EvolveGCN, arXiv:1902.10191, as in the authors' code: weighted cross-entropy, pairs without a link drawn
anew in every epoch, the epoch with the best validation score is kept. Their two Adam optimizers, of the encoder and of
the head, have one rate and keep their moments by parameter, so they are one optimizer over both.

Every draw follows from the seed, the epoch and the step, and a checkpoint is written after each epoch: a killed run
loses an epoch at most, and ends with the same weights bit for bit.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import polars as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.link_memory import LinkMemory
from models.negatives import Negatives, smart_negatives, uniform_negatives
from models.weighted_loss import weighted_cross_entropy
from pipelines.checkpoint import Progress, load_progress, save_progress, write_whole
from pipelines.device import describe_device
from pipelines.errors import TrainingError
from pipelines.fingerprint import code_fingerprint
from pipelines.graph_task.features import feature_width
from pipelines.graph_task.measure import selection_score
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared, active_nodes
from pipelines.graph_task.spec import GraphModel, GraphTraining
from pipelines.graph_task.targets import Labelled
from pipelines.results import History
from pipelines.train import CHECKPOINT, HISTORY, UNREADABLE, WEIGHTS, read_history, training_bar, write_history

CHUNK = 2**17  # pairs at once; their gradients add up
METRICS = {"map": "MAP", "mrr": "MRR", "minority_f1": "F1 of the rare class", "micro_f1": "micro F1"}
DECISIVE_CODE = (
    "data",
    "models",
    *(
        f"pipelines/graph_task/{name}.py"
        for name in (
            "features",
            "frames",
            "grouped_metrics",
            "measure",
            "network",
            "prepare",
            "ranges",
            "targets",
            "train",
        )
    ),
    "pipelines/checkpoint.py",
    "pipelines/class_metrics.py",
    "pipelines/link_metrics.py",
)


@dataclass(frozen=True)
class Fitted:
    """A trained network in evaluation mode, and how it came about."""

    network: GraphNetwork
    history: History  # epochs: epoch, train_loss, validation_score (NaN where not validated), seconds
    key: str  # of everything that the weights follow from
    reused: bool


def training_key(prepared: Prepared, model: GraphModel, training: GraphTraining) -> str:
    """A hash of all that decides the weights: data, task, ranges, model, settings, torch, code."""
    content = {
        "data": prepared.dataset_version,
        "task": prepared.task.model_dump(mode="json"),
        "minority": prepared.minority,
        "metric": prepared.metric,
        "ranges": asdict(prepared.ranges),
        "model": model.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "code": code_fingerprint(*DECISIVE_CODE),
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def new_network(prepared: Prepared, model: GraphModel) -> GraphNetwork:
    """An untrained network, of the random state of the moment."""
    width, directed = feature_width(model, prepared.schema), prepared.snapshots.is_directed
    return GraphNetwork(
        model, width, window=prepared.task.window, directed=directed, node_classes=prepared.node_classes
    )


def fit(
    prepared: Prepared,
    model: GraphModel,
    training: GraphTraining,
    *,
    folder: Path,
    say: Callable[[str], None] = print,
) -> Fitted:
    """Train `model`, or take up where a killed run stopped, or give back what an equal run has left in `folder`.

    Raises TrainingError when the loss is no longer a number, or there is nothing to learn from.
    """
    key = training_key(prepared, model, training)
    place = folder / f"{model.name}-{key}"
    torch.set_num_threads(training.threads)
    torch.manual_seed(training.seed)
    network = new_network(prepared, model)
    if (place / HISTORY).exists():
        try:
            network.load_state_dict(load_file(place / WEIGHTS))
            earlier = Fitted(network.eval(), read_history(place), key, reused=True)
            say(f"{model.label}: unchanged since it was trained, re-used ({key})")
            return earlier
        except UNREADABLE as error:
            say(f"{model.label}: what an equal run left in {place} can't be read, so it is trained anew: {error}")
    history = Run(prepared, network, model, training, place, say).to_the_end()
    return Fitted(network.eval(), history, key, reused=False)


def usual_weights(prepared: Prepared) -> list[float]:
    """Of each class, as the paper's code has them most often."""
    rare, other = (0.9, 0.1) if prepared.is_about_links else (0.8, 0.2)
    return [rare if number == prepared.minority else other for number in range(len(prepared.classes))]


def with_seen(target: Labelled, memory: LinkMemory) -> Labelled:
    """The pairs of `target` and all that were seen before and are not among them, as pairs without a link.

    Pairs drawn at random were hardly ever linked: next to them alone, a network learns that a pair seen before comes
    again, which the rule knows, and not which of them.
    """
    nodes, seen = memory.nodes, memory.seen_pairs()
    known = target.members[0] * nodes + target.members[1]
    others = seen[:, ~torch.isin(seen[0] * nodes + seen[1], known)]
    none = torch.zeros(others.shape[1], dtype=torch.int64)
    return Labelled(torch.cat([target.members, others], dim=1), torch.cat([target.label, none]))


class Lesson(NamedTuple):
    """One sample to learn from."""

    h: Tensor  # [n, width]
    place: Tensor  # [N], the row of each node in `h`
    target: Labelled
    features: Tensor | None  # [M, F], of each pair, where the head reads any


class Run:
    """One training run: what it needs in reach, and where it stands."""

    def __init__(
        self,
        prepared: Prepared,
        network: GraphNetwork,
        model: GraphModel,
        training: GraphTraining,
        place: Path,
        say: Callable[[str], None],
    ) -> None:
        self.prepared, self.network, self.training, self.place, self.say = prepared, network, training, place, say
        self.name = model.label
        self.frames = prepared.frames(model, is_local=network.is_local)
        parts = ({"params": part.parameters()} for part in (network.encoder, network.head))
        self.optimizer = torch.optim.Adam(parts, lr=training.learning_rate)
        self.class_weight = torch.tensor(training.class_weights or usual_weights(prepared))
        self.samples = prepared.ranges.training
        if network.carries:  # the state begins with the history, and so do the samples
            self.samples = range(prepared.ranges.train_end)
        self.progress = Progress()
        self.missing = 0  # pairs without a link that could not be drawn
        if not any(len(prepared.labelled(sample).label) for sample in self._validation()):
            raise TrainingError(
                f"nothing has a class in the steps {list(self._validation())} for validation; change task.split or "
                "training.check_steps"
            )

    def to_the_end(self) -> History:
        found = load_progress(self.place / CHECKPOINT, self.network, self.optimizer)
        self.progress = found or Progress()
        if found:
            self.say(f"{self.name}: taking up at epoch {found.epoch + 1}, where an earlier run stopped")
        elif (self.place / CHECKPOINT).exists():
            self.say(f"{self.name}: the checkpoint in {self.place} can't be read; starting from the beginning")
        with training_bar(self.name, self.training.epochs, self.say, self._words) as show:
            while not self._is_over():
                self._epoch()
                show(self.progress)
                save_progress(self.place / CHECKPOINT, self.progress, self.network, self.optimizer)
        if self.missing:
            self.say(f"note: {self.missing:,} pairs without a link could not be drawn; lower training.negatives")
        return self._finish()

    def _finish(self) -> History:
        done = self.progress
        history = History(
            epochs=pl.DataFrame(done.rows),
            best_epoch=done.best_epoch,
            device=describe_device(torch.device("cpu")),
            parameters=sum(p.numel() for p in self.network.parameters()),
        )
        write_whole(self.place / WEIGHTS, lambda file: save_file(done.best_weights, file))
        write_whole(self.place / HISTORY, lambda file: write_history(file, history))
        (self.place / CHECKPOINT).unlink(missing_ok=True)
        self.network.load_state_dict(done.best_weights)
        return history

    def _is_over(self) -> bool:
        done = self.progress
        since_best = sum(
            row["epoch"] > done.best_epoch and not math.isnan(row["validation_score"]) for row in done.rows
        )
        return done.epoch >= self.training.epochs or (done.epoch > 0 and since_best >= self.training.patience)

    def _epoch(self) -> None:
        began = time.monotonic()
        self.network.train()
        memories = self.prepared.memories(self.samples) if self.network.reads_memory else repeat(None)
        losses = []
        for embedded in self.network.learning(self.frames, self.samples):
            lessons = [self._lesson(sample, h, next(memories)) for sample, h in embedded]
            losses += self._step([each for each in lessons if each.target.members.shape[1]])
        if not losses:
            raise TrainingError("no training step has anything to learn from; change task.split")
        self._close_epoch(sum(losses) / len(losses), began)

    def _lesson(self, sample: int, h: Tensor, memory: LinkMemory | None) -> Lesson:
        target = self._target(sample)
        if self.network.is_stacked and memory is not None:
            target = with_seen(target, memory)
        features = None if memory is None else memory.features(target.members)  # now: the memory goes on to later steps
        return Lesson(h, self.frames[sample].place, target, features)

    def _step(self, lessons: list[Lesson]) -> list[float]:
        """One optimizer step on the mean over these samples; gives its loss, or nothing where nothing is labelled."""
        if not lessons:
            return []
        self.optimizer.zero_grad(set_to_none=True)
        loss, grads = 0.0, []
        for lesson in lessons:
            leaf = lesson.h.detach().requires_grad_()
            loss += self._backward(leaf, lesson, share=1 / len(lessons))
            grads.append(leaf.grad)
        torch.autograd.backward([lesson.h for lesson in lessons], grads)
        self.optimizer.step()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of {self.name} is {loss} in epoch {self.progress.epoch + 1}; lower training.learning_rate "
                f"(now {self.training.learning_rate})"
            )
        return [loss]

    def _backward(self, h: Tensor, lesson: Lesson, *, share: float) -> float:
        """The gradients of one sample's loss, chunk by chunk, so that no hidden layer of all pairs is held."""
        total, target = 0.0, lesson.target
        for first in range(0, len(target.label), CHUNK):
            chunk = slice(first, first + CHUNK)
            members, label = lesson.place[target.members[:, chunk]], target.label[chunk]
            logits = self.network.logits(h, members, None if lesson.features is None else lesson.features[chunk])
            part = share * len(label) / len(target.label)
            loss = part * weighted_cross_entropy(logits, label, self.class_weight)
            loss.backward()
            total += loss.item()
        return total

    def _target(self, sample: int) -> Labelled:
        """What to learn from: what the data say, and of links also pairs that are none."""
        target = self.prepared.labelled(sample)
        if not self.prepared.is_about_links:
            return target
        generator = torch.Generator().manual_seed(self._draw_seed(sample))
        if self.training.sampling == "smart":
            active = active_nodes(self.prepared.snapshots, sample, self.prepared.task.window)
            found = smart_negatives(target.members, active, multiplier=self.training.negatives, generator=generator)
        else:
            found = self._uniform(target.members, generator)
        self.missing += found.shortfall
        none = torch.zeros(found.pairs.shape[1], dtype=torch.int64)
        return Labelled(torch.cat([target.members, found.pairs], dim=1), torch.cat([target.label, none]))

    def _uniform(self, links: Tensor, generator: torch.Generator) -> Negatives:
        """Among the nodes that training knows: one that first comes in the test range is no candidate yet."""
        known = self.prepared.known_to_training
        place = torch.searchsorted(known, links)
        found = uniform_negatives(place, len(known), multiplier=self.training.negatives, generator=generator)
        return Negatives(known[found.pairs], found.shortfall)

    def _draw_seed(self, sample: int) -> int:
        return (self.training.seed * 1_000_003 + self.progress.epoch) * 1_000_003 + sample

    def _close_epoch(self, loss: float, began: float) -> None:
        done, last = self.progress, self.progress.epoch + 1 == self.training.epochs
        score = math.nan
        if (done.epoch + 1) % self.training.check_every == 0 or last:
            self.network.eval()
            score = selection_score(self.network, self.frames, self.prepared, self._validation())
        if -score < done.best_loss:  # the smallest is the best; False where the score is NaN
            done.best_loss, done.best_epoch = -score, done.epoch
            done.best_weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        seconds = time.monotonic() - began
        row = {"epoch": done.epoch, "train_loss": loss, "validation_score": score, "seconds": seconds}
        done.rows.append(row)
        done.epoch += 1

    def _validation(self) -> range:
        steps = self.prepared.ranges.validation
        return steps[:: -(-len(steps) // min(self.training.check_steps or len(steps), len(steps)))]

    def _words(self, done: Progress) -> str:
        row, name = done.rows[-1], METRICS[self.prepared.metric]
        score = f"{row['validation_score']:.4f} (best {-done.best_loss:.4f})"
        return f"loss {row['train_loss']:.4f}, validation {name} {score}"
