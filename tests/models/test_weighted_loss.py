"""The class-weighted loss divides by the number of samples, which torch's own does not."""

import pytest
import torch

from models.weighted_loss import weighted_cross_entropy


def test_the_loss_is_the_mean_over_samples_of_weight_times_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels, weight = torch.randn(9, 2), torch.tensor([0, 1, 1, 0, 0, 0, 1, 0, 0]), torch.tensor([0.1, 0.9])
    by_hand = sum(-weight[y] * (row[y] - row.exp().sum().log()) for row, y in zip(logits, labels, strict=True)) / 9
    torch.testing.assert_close(weighted_cross_entropy(logits, labels, weight), by_hand)
    torchs = torch.nn.functional.cross_entropy(logits, labels, weight=weight)
    torch.testing.assert_close(weighted_cross_entropy(logits, labels, weight), torchs * weight[labels].sum() / 9)


def test_a_step_without_a_sample_is_refused_and_not_nan() -> None:
    with pytest.raises(ValueError, match="at least one labelled sample"):
        weighted_cross_entropy(torch.empty(0, 2), torch.empty(0, dtype=torch.int64), torch.ones(2))
