"""A network's figures on a range of samples."""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from models.link_memory import LinkMemory
from models.pair_scores import PairScores
from pipelines.class_metrics import class_metrics, confusion
from pipelines.graph_task.frames import Frames
from pipelines.graph_task.grouped_metrics import mean_reciprocal_rank
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared

POWERS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the odds of a stacked network; 0 is the rule alone


def link_scores(
    network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range
) -> Iterator[tuple[int, PairScores, LinkMemory]]:
    """For each sample the scores of all pairs, and the memory of what was seen until then (of the moment alone)."""
    for (sample, h), memory in zip(network.judged(frames, samples), prepared.memories(samples), strict=True):
        yield sample, network.pair_scores(h, frames[sample].place, memory), memory


@torch.no_grad()
def link_figure(network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range) -> float:
    """MAP, or MRR where that is the task's metric, of samples before the test range; 0 where there is no link.

    Over all ordered pairs of the nodes known there. A node that first comes in the test range is no candidate: its
    number would else choose the epoch.
    """
    figure = _figure(prepared)
    return _mean(
        figure(scores, prepared.labelled(sample).members, prepared.known_to_validation)
        for sample, scores, _ in link_scores(network, frames, prepared, samples)
    )


@torch.no_grad()
def class_counts(network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range) -> Tensor:
    """Counts [K, K] of the true class (rows) against the predicted one, over all steps."""
    return torch.stack(list(class_counts_by_step(network, frames, prepared, samples))).sum(0)


def class_counts_by_step(network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range) -> Iterator[Tensor]:
    """The same of each sample."""
    memories = prepared.memories(samples) if network.reads_memory else [None] * len(samples)
    for (sample, h), memory in zip(network.judged(frames, samples), memories, strict=True):
        target = prepared.labelled(sample)
        features = None if memory is None else memory.features(target.members)
        logits = network.logits(h, frames[sample].place[target.members], features)
        yield confusion(logits.argmax(1), target.label, len(prepared.classes))


def selection_score(network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range) -> float:
    """What the epoch is chosen by: the task's metric."""
    if network.is_stacked:
        return choose_power(network, frames, prepared, samples)
    if prepared.is_about_links:
        return link_figure(network, frames, prepared, samples)
    found = class_metrics(class_counts(network, frames, prepared, samples), minority=prepared.minority)
    score = found.micro_f1 if prepared.metric == "micro_f1" else found.minority_f1
    return 0.0 if math.isnan(score) else score


@torch.no_grad()
def choose_power(network: GraphNetwork, frames: Frames, prepared: Prepared, samples: range) -> float:
    """Give a stacked network the power with the best figure, of equal ones the smallest, and give back that figure."""
    figure = _figure(prepared)
    steps: dict[float, list[float]] = {power: [] for power in POWERS}
    for sample, scores, _ in link_scores(network, frames, prepared, samples):
        links = prepared.labelled(sample).members
        for power in POWERS:
            scores.power = power
            steps[power].append(figure(scores, links, prepared.known_to_validation))
    found = {power: _mean(each) for power, each in steps.items()}
    best = max(POWERS, key=found.__getitem__)  # the first of equal ones
    network.power.fill_(best)
    return found[best]


def _figure(prepared: Prepared) -> Callable[[PairScores, Tensor, Tensor], float]:
    return mean_reciprocal_rank if prepared.metric == "mrr" else PairScores.average_precision


def _mean(steps: Iterable[float]) -> float:
    """Of the steps that have links, 0 where none has."""
    counted = [value for value in steps if not math.isnan(value)]
    return sum(counted) / len(counted) if counted else 0.0
