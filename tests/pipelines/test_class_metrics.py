"""Pooled F1 against scikit-learn."""

import math

import pytest
import torch
from sklearn.metrics import f1_score

from pipelines.class_metrics import class_metrics, confusion


def test_figures_of_pooled_steps_are_those_of_all_samples_at_once() -> None:
    torch.manual_seed(0)
    steps = [(torch.randint(3, (size,)), torch.randint(3, (size,))) for size in (40, 0, 7)]
    found = class_metrics(sum(confusion(predicted, truth, 3) for predicted, truth in steps), minority=2)
    predicted, truth = (torch.cat(part).numpy() for part in zip(*steps, strict=True))
    assert found.micro_f1 == pytest.approx(f1_score(truth, predicted, average="micro"))
    assert found.minority_f1 == pytest.approx(f1_score(truth, predicted, labels=[2], average=None)[0])
    assert found.micro_f1 == pytest.approx((truth == predicted).mean())
    assert found.majority == max((truth == label).mean() for label in range(3))


def test_naming_the_commonest_class_scores_the_majority_rate_and_no_minority_f1() -> None:
    truth = torch.tensor([1, 1, 1, 0])
    found = class_metrics(confusion(torch.ones_like(truth), truth, 2), minority=0)
    assert (found.micro_f1, found.majority, found.minority_f1) == (0.75, 0.75, 0.0)


def test_a_class_that_is_neither_there_nor_named_has_no_f1() -> None:
    ones = torch.ones(3, dtype=torch.int64)
    assert math.isnan(class_metrics(confusion(ones, ones, 2), minority=0).minority_f1)


def test_a_label_that_is_no_class_and_a_range_without_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="true labels reach from 0 to 2"):
        confusion(torch.zeros(2, dtype=torch.int64), torch.tensor([0, 2]), 2)
    with pytest.raises(ValueError, match="no sample"):
        class_metrics(torch.zeros(2, 2, dtype=torch.int64), minority=0)
