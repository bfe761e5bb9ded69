"""Judge a network on the test steps, beside the rules that remember links, the majority class, and static networks.

Every ordered pair of nodes is scored (`pipelines.link_metrics`), from what was known at the step before. A majority
class is that of the training steps.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from pipelines.class_metrics import class_metrics
from pipelines.graph_task.frames import Frames
from pipelines.graph_task.grouped_metrics import score_grouped
from pipelines.graph_task.measure import class_counts_by_step, link_scores
from pipelines.graph_task.network import GraphNetwork
from pipelines.graph_task.prepare import Prepared
from pipelines.graph_task.spec import GraphModel, GraphSpec, StaticModel
from pipelines.graph_task.targets import class_sizes
from pipelines.graph_task.train import Fitted, fit
from pipelines.link_metrics import StepScores, mean_over_steps, score_step

NETWORKS = ("gcn", "gcn_gru")
LINK_METRICS, CLASS_METRICS = ("map", "mrr"), ("minority_f1", "micro_f1")
Say = Callable[[str], None]


@dataclass(frozen=True)
class GraphBacktest:
    """`scores` has the column model (ours first) and one for each metric; `steps` the same by step."""

    protocol: str
    model: str  # ours
    metrics: tuple[str, ...]  # the first is what models are compared by
    scores: pl.DataFrame
    steps: pl.DataFrame  # step (of the target), model, and `metrics`: NaN where a step has nothing to tell

    def score(self, model: str, metric: str) -> float:
        return float(self.scores.filter(pl.col("model") == model)[metric][0])


@dataclass(frozen=True)
class Evaluated:
    backtest: GraphBacktest
    fitted: Fitted


def backtest(spec: GraphSpec, prepared: Prepared, *, folder: Path, say: Say = print) -> Evaluated:
    """Fit and score our model and the yardsticks. `folder` keeps what was trained."""
    fitted = fit(prepared, spec.model, spec.training, folder=folder, say=say)
    networks = {spec.model.label: (fitted.network, prepared.frames(spec.model, is_local=fitted.network.is_local))}
    for name in NETWORKS:
        model = yardstick(spec.model, name)
        if name in spec.evaluation.baselines and model.label != spec.model.label:
            network = fit(prepared, model, spec.training, folder=folder, say=say).network
            networks[model.label] = network, prepared.frames(model, is_local=network.is_local)
    rules: list[str] = [name for name in spec.evaluation.baselines if name not in NETWORKS]
    judge = judge_links if prepared.is_about_links else judge_classes
    scores, steps = judge(networks, prepared, rules, prepared.ranges.test)
    metrics = LINK_METRICS if prepared.is_about_links else CLASS_METRICS
    result = GraphBacktest(protocol(spec, prepared), spec.model.label, metrics, scores, steps)
    return Evaluated(result, fitted)


def yardstick(model: GraphModel, name: str) -> StaticModel:
    """A static network of the same widths and features, without a memory."""
    shared = model.model_dump(include={"hidden", "layers", "head", "symmetric", "features", "largest_degree"})
    return StaticModel.model_validate({"name": name, **shared})


# ---------------------------------------------------------------- links


Networks = dict[str, tuple[GraphNetwork, Frames]]


@torch.no_grad()
def judge_links(
    networks: Networks, prepared: Prepared, rules: Sequence[str], samples: range
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Means over the steps of these samples, and the steps themselves."""
    found: dict[str, list[StepScores]] = {}
    for name, (network, frames) in networks.items():
        found[name] = [
            score_grouped(scores, prepared.labelled(sample).members)
            for sample, scores, _ in link_scores(network, frames, prepared, samples)
        ]
    found |= by_rules(prepared, samples, [rule for rule in rules if rule != "majority"])
    scores = [{"model": name, **_means(steps)} for name, steps in found.items()]
    rows = [
        {"step": sample + 1, "model": name, "map": step.average_precision, "mrr": step.unfiltered.expected}
        for name, steps in found.items()
        for sample, step in zip(samples, steps, strict=True)
    ]
    return pl.DataFrame(scores), pl.DataFrame(rows)


def by_rules(prepared: Prepared, samples: range, rules: Sequence[str]) -> dict[str, list[StepScores]]:
    """The steps by the rules of a memory."""
    found: dict[str, list[StepScores]] = {name: [] for name in rules}
    for sample, memory in zip(samples, prepared.memories(samples), strict=True):
        scorers = memory.rules()
        for name in rules:
            found[name].append(score_step(scorers[name], prepared.labelled(sample).members, prepared.nodes))
    return found


def _means(steps: list[StepScores]) -> dict[str, float]:
    means = mean_over_steps(steps)
    rank = means.unfiltered
    return {
        "map": means.mean_average_precision,
        "mrr": rank.expected,
        "mrr_lower": rank.lower,
        "mrr_upper": rank.upper,
        "mrr_filtered": means.filtered.expected,
    }


# ---------------------------------------------------------------- classes


@torch.no_grad()
def judge_classes(
    networks: Networks, prepared: Prepared, rules: Sequence[str], samples: range
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Figures of counts pooled over the steps of these samples, and those of each step."""
    counts = {
        name: torch.stack(list(class_counts_by_step(network, frames, prepared, samples)))  # [S, K, K]
        for name, (network, frames) in networks.items()
    }
    if "majority" in rules:
        counts["majority"] = _majority(prepared, samples)
    scores = [{"model": name, **_class_figures(each.sum(0), prepared.minority)} for name, each in counts.items()]
    steps = [
        {"step": sample, "model": name, **_class_figures(of_step, prepared.minority)}
        for name, each in counts.items()
        for sample, of_step in zip(samples, each, strict=True)
    ]
    return pl.DataFrame(scores), pl.DataFrame(steps)


def _class_figures(counts: Tensor, minority: int) -> dict[str, float]:
    if not counts.any():
        return dict.fromkeys(CLASS_METRICS, math.nan)
    found = class_metrics(counts, minority=minority)
    return {"minority_f1": found.minority_f1, "micro_f1": found.micro_f1}


def _majority(prepared: Prepared, samples: range) -> Tensor:
    """Counts [S, K, K] of naming the commonest class of the training steps every time."""
    classes, seen = len(prepared.classes), range(prepared.ranges.train_end)
    learnt = class_sizes(map(prepared.labelled, seen), classes)
    counts = torch.zeros(len(samples), classes, classes, dtype=torch.int64)
    counts[:, :, int(learnt.argmax())] = torch.stack(
        [class_sizes([prepared.labelled(sample)], classes) for sample in samples]
    )
    return counts


# ---------------------------------------------------------------- in words


def protocol(spec: GraphSpec, prepared: Prepared) -> str:
    """How it was measured, in one sentence that two results must share to be compared."""
    ranges, clock = prepared.ranges, prepared.snapshots.clock
    what = {
        "links": f"all {prepared.nodes**2:,} ordered pairs of {prepared.nodes:,} nodes, one step ahead",
        "edge_labels": "the class of every edge of a step, counts pooled over steps",
        "node_labels": f"the class of every labelled node of a step ({', '.join(prepared.classes)}, of which "
        f"{prepared.classes[prepared.minority]} is the rare one), counts pooled over steps",
    }[prepared.task.kind]
    return (
        f"{prepared.task.kind} on {spec.name}/{prepared.dataset_version}: {what}; fitted on samples until step "
        f"{ranges.train_end - 1} ({clock[ranges.train_end - 1]}), stopped by those until "
        f"{ranges.validation_end - 1} ({clock[ranges.validation_end - 1]}), judged on {len(ranges.test)} steps of "
        f"{prepared.snapshots.interval}"
    )
