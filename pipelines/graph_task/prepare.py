"""A data set of snapshots becomes a task: features, targets, and the steps to learn from and to be judged on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from data.snapshot_store import SnapshotSet
from data.snapshots import Snapshot, Snapshots
from models.link_memory import LinkMemory
from pipelines.errors import SpecError
from pipelines.graph_task.features import FeatureSchema, features_of, fit_features
from pipelines.graph_task.frames import Frames
from pipelines.graph_task.ranges import SampleRanges, sample_ranges
from pipelines.graph_task.spec import EdgeLabelTask, GraphModelBase, GraphSpec, LinkTask, NodeLabelTask
from pipelines.graph_task.spec import GraphTask as TaskTable
from pipelines.graph_task.targets import PAIRS, Labelled, labelled_nodes, node_classes


@dataclass(frozen=True)
class Prepared:
    snapshots: Snapshots
    dataset_version: str
    task: TaskTable
    ranges: SampleRanges
    schema: FeatureSchema
    classes: tuple[str, ...]  # of pairs "0" and "1"
    minority: int  # the rare class; links are class 1
    metric: str  # what an epoch is chosen and models are compared by

    @property
    def nodes(self) -> int:
        return len(self.snapshots.names)

    @property
    def is_about_links(self) -> bool:
        return isinstance(self.task, LinkTask)

    @property
    def node_classes(self) -> int | None:
        """How many, where the task is about nodes."""
        return len(self.classes) if isinstance(self.task, NodeLabelTask) else None

    @property
    def ahead(self) -> int:
        """Steps between the last one read and the target."""
        return int(self.is_about_links)

    def remembering(self, window: int) -> "Prepared":
        """The same task with the memory of another model's `window`."""
        return replace(self, task=self.task.model_copy(update={"window": window}))

    def frames(self, model: GraphModelBase, *, is_local: bool) -> Frames:
        features, absent = features_of(model, self.schema)
        return Frames(self.snapshots, features, absent, is_local=is_local, keep=self.task.window + 1)

    def links(self, step: int) -> Tensor:
        """[2, E], the edges of a step by global ids."""
        snapshot = self.snapshots[step]
        return snapshot.nodes[snapshot.edge_index]

    @cached_property
    def known_to_training(self) -> Tensor:
        """[K], the nodes of the training samples and their targets, ascending."""
        return self._nodes_before(self.ranges.train_end + self.ahead)

    @cached_property
    def known_to_validation(self) -> Tensor:
        """[K], the nodes of all samples before the test range and of their targets, ascending."""
        return self._nodes_before(self.ranges.validation_end + self.ahead)

    def _nodes_before(self, step: int) -> Tensor:
        return torch.cat([snapshot.nodes for snapshot in list(self.snapshots[:step])]).unique()

    def labelled(self, sample: int) -> Labelled:
        """The target of a sample: the links of the next step, or what has a class of this one's edges or nodes."""
        if self.is_about_links:
            pairs = self.links(sample + 1)
            return Labelled(pairs, torch.ones(pairs.shape[1], dtype=torch.int64))
        if isinstance(self.task, NodeLabelTask):
            return labelled_nodes(self.snapshots[sample])
        label = self.snapshots[sample].edge_label
        assert label is not None  # the spec has asked for a column of ratings
        return Labelled(self.links(sample), label.long())

    def memories(self, samples: range) -> Iterator[LinkMemory]:
        """As the function of that name, of these samples."""
        return memories(self.snapshots, samples, window=self.task.window)


def memories(snapshots: Snapshots, steps: range, *, window: int) -> Iterator[LinkMemory]:
    """What was seen up to each of these steps, one after the other; the same object, updated in between."""
    memory = LinkMemory(len(snapshots.names), window=window)
    for step in range(steps.stop):
        snapshot = snapshots[step]
        memory.update(snapshot.nodes[snapshot.edge_index], snapshot.edge_weight)
        if step in steps:
            yield memory


def prepare(spec: GraphSpec, dataset: SnapshotSet) -> Prepared:
    """Raises SpecError where the history is too short for the task, or has no classes for it."""
    snapshots = dataset.snapshots
    ahead = 1 if isinstance(spec.task, LinkTask) else 0
    ranges = sample_ranges(len(snapshots), spec.task.split, window=spec.task.window, ahead=ahead)
    classes: tuple[str, ...] = PAIRS
    minority = 1
    if isinstance(spec.task, EdgeLabelTask):
        minority = spec.task.minority
    elif isinstance(spec.task, NodeLabelTask):
        classes, minority = node_classes(spec, snapshots, ranges)
    schema = fit_features(snapshots, train_end=ranges.train_end)
    prepared = Prepared(snapshots, dataset.manifest.version, spec.task, ranges, schema, classes, minority, spec.metric)
    _require_targets(prepared)
    return prepared


def _require_targets(prepared: Prepared) -> None:
    """Raises SpecError where a range has nothing to learn, to choose an epoch by or to judge."""
    ranges = {name: getattr(prepared.ranges, name) for name in ("training", "validation", "test")}
    for name, samples in ranges.items():
        labels = torch.cat([prepared.labelled(sample).label for sample in samples])
        if not len(labels):
            raise SpecError(f"the {name} range has nothing to tell of; change task.split or the length of the steps")
        if name != "validation" and not (labels == prepared.minority).any():
            raise SpecError(
                f"the {name} range has nothing of class {prepared.minority}, the rare one; change task.split"
            )


def active_nodes(snapshots: Snapshots, last: int, window: int) -> Tensor:
    """[A], the nodes of every snapshot of a window, one list after the other."""
    steps: list[Snapshot] = list(snapshots[max(0, last - window + 1) : last + 1])
    return torch.cat([snapshot.nodes for snapshot in steps])
