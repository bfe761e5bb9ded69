"""What is to be told of a step, and of which classes."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from data.snapshots import UNLABELLED, Snapshot, Snapshots
from pipelines.errors import SpecError
from pipelines.graph_task.ranges import SampleRanges
from pipelines.graph_task.spec import GraphSpec, NodeLabelTask

PAIRS = ("0", "1")  # the classes of edges, and of pairs with a link or without


@dataclass(frozen=True)
class Labelled:
    """Pairs or nodes of one step and their classes, of links those that are there."""

    members: Tensor  # [2, M] pairs or [1, M] nodes, global ids
    label: Tensor  # [M]


def labelled_nodes(snapshot: Snapshot) -> Labelled:
    """The nodes whose class is known. Raises ValueError for a snapshot without labels."""
    if snapshot.node_label is None:
        raise ValueError("the snapshot has no labels of nodes; name data.nodes.columns.label in the spec")
    known = snapshot.node_label != UNLABELLED
    return Labelled(snapshot.nodes[known][None], snapshot.node_label[known])


def class_sizes(targets: Iterable[Labelled], classes: int) -> Tensor:
    """[K], how often each class occurs."""
    sizes = torch.zeros(classes, dtype=torch.int64)
    for target in targets:
        sizes += target.label.bincount(minlength=classes)
    return sizes


def node_classes(spec: GraphSpec, snapshots: Snapshots, ranges: SampleRanges) -> tuple[tuple[str, ...], int]:
    """The classes of the nodes, and which of them is the rare one.

    Raises SpecError where training has fewer than two of them, a range has no label, or the spec names other ones.
    """
    assert isinstance(spec.task, NodeLabelTask)
    names = snapshots.classes
    sizes = class_sizes(map(labelled_nodes, snapshots[: ranges.train_end]), len(names))
    seen = [name for name, size in zip(names, sizes.tolist(), strict=True) if size]
    if len(seen) < 2:
        raise SpecError(
            f"data.nodes: the classes of nodes in the training steps 0 to {ranges.train_end - 1} are "
            f"{', '.join(seen) or 'not known'}; two are needed: check columns.label, unknown and task.split"
        )
    for name in ("training", "validation", "test"):
        steps: range = getattr(ranges, name)
        if not any(len(labelled_nodes(snapshots[step]).label) for step in steps):
            raise SpecError(
                f"data.nodes: no node has a label in the steps {steps.start} to {steps.stop - 1} for {name}; change "
                "task.split, or load more labels"
            )
    weights = spec.training.class_weights
    if weights is not None and len(weights) != len(names):
        raise SpecError(f"training.class_weights: {len(weights)} numbers for {len(names)} classes: {', '.join(names)}")
    return names, _rare(spec.task.minority, names, sizes)


def _rare(named: str | None, names: tuple[str, ...], sizes: Tensor) -> int:
    if named is None:
        return int(torch.where(sizes > 0, sizes, sizes.max() + 1).argmin())
    if named not in names:
        raise SpecError(f"task.minority: {named!r} is no class of the nodes; allowed: {', '.join(names)}")
    return names.index(named)
