import pytest
import torch

from pipelines.privacy.signal import LEAST, signal_shares


def test_a_series_weighs_by_what_of_its_variance_is_no_noise() -> None:
    shares = signal_shares(torch.tensor([[10.0, 10.0], [20.0, 20.0]], dtype=torch.float64), [50.0, 0.0])
    signal = torch.tensor([[0.5, 1.0], [0.875, 1.0]])
    torch.testing.assert_close(shares, signal / signal.mean())


def test_weights_have_mean_one_so_that_a_learning_rate_means_the_same() -> None:
    shares = signal_shares(torch.tensor([[3.0], [4.0], [90.0]], dtype=torch.float64), [8.0])
    assert float(shares.mean()) == pytest.approx(1.0)


def test_a_series_of_noise_alone_still_has_a_say() -> None:
    """A spread below that of the noise happens by chance; a weight below zero would teach to err."""
    shares = signal_shares(torch.tensor([[2.0], [100.0]], dtype=torch.float64), [9.0])
    assert float(shares[0] / shares[1]) == pytest.approx(LEAST / (1 - 9e-4), rel=1e-5)
