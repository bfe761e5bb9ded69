"""Cross-entropy of rare classes, as EvolveGCN's authors weigh it (arXiv:1902.10191, released code)."""

from torch import Tensor
from torch.nn import functional


def weighted_cross_entropy(logits: Tensor, labels: Tensor, class_weight: Tensor) -> Tensor:
    """Mean over samples of the class's weight times the cross-entropy.

    `logits` [M, K], `labels` [M], `class_weight` [K]. Divides by the number of samples; torch's own weighted mean
    divides by the sum of their weights, so a learning rate of one is not a learning rate of the other.
    Raises ValueError without a sample.
    """
    if len(labels) == 0:
        raise ValueError("the loss needs at least one labelled sample but this step has none; leave the step out")
    return functional.cross_entropy(logits, labels, weight=class_weight, reduction="sum") / len(labels)
