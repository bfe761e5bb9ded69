"""How well classes were told apart, from counts pooled over all steps.

micro F1     hits of all classes over all samples; with one label a sample it is plain accuracy
minority F1  F1 of the rare class
majority     what naming the commonest class every time would score: an accuracy below it has learnt nothing
"""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ClassMetrics:
    micro_f1: float
    minority_f1: float  # NaN where the class is neither there nor named
    majority: float
    samples: int


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Counts [K, K] of truth (rows) against `predicted` (columns), [M] each; add those of all steps.

    Raises ValueError if a label is no class.
    """
    for name, labels in (("predicted", predicted), ("true", truth)):
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise ValueError(
                f"{name} labels reach from {int(labels.min())} to {int(labels.max())}; classes are 0 to {classes - 1}"
            )
    return (truth * classes + predicted).bincount(minlength=classes**2).view(classes, classes)


def class_metrics(counts: Tensor, *, minority: int) -> ClassMetrics:
    """Figures of pooled counts [K, K] where `minority` is the rare class. Raises ValueError if nothing was counted."""
    samples = int(counts.sum())
    if samples == 0:
        raise ValueError("no sample was counted in any step; evaluate on a longer range")
    named_or_there = int(counts[minority].sum() + counts[:, minority].sum())
    return ClassMetrics(
        micro_f1=int(counts.trace()) / samples,
        minority_f1=2 * int(counts[minority, minority]) / named_or_there if named_or_there else math.nan,
        majority=int(counts.sum(1).max()) / samples,
        samples=samples,
    )
