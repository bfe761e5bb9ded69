"""The noise is what it is said to be. It can't be seeded: a test fails by chance about once in a million runs."""

import numpy as np
import pytest
from scipy import stats

from data.integer_noise import add_discrete_gaussian, add_geometric

DRAWS = 40_000
ONE_IN_A_MILLION = 1e-6


def gaussian(z: np.ndarray, scale: float) -> np.ndarray:
    return np.exp(-(z**2) / (2 * scale**2))


def two_sided(z: np.ndarray, scale: float) -> np.ndarray:
    return np.exp(-np.abs(z) / scale)


def chi_square(sample: np.ndarray, weights, scale: float) -> float:
    """The p-value of the sample against these weights of whole numbers; ends pooled until 20 are expected in each."""
    reach = int(40 * scale) + 40
    z = np.arange(-reach, reach + 1)
    expected = weights(z, scale) / weights(z, scale).sum() * len(sample)
    first, last = (int(np.searchsorted(np.cumsum(e), 20)) for e in (expected, expected[::-1]))
    low, high = z[first], z[-1 - last]
    seen = np.bincount(sample.clip(low, high) - low, minlength=high - low + 1)
    inner = expected[first : len(z) - last].copy()
    inner[0] += expected[:first].sum()
    inner[-1] += expected[len(z) - last :].sum()
    return float(stats.chisquare(seen, inner * seen.sum() / inner.sum()).pvalue)


SAMPLERS = {
    "narrow Gaussian": (add_discrete_gaussian, gaussian, 1.3),
    "wide Gaussian": (add_discrete_gaussian, gaussian, 29.3),
    "geometric": (add_geometric, two_sided, 1.0),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_sampler_fits_its_distribution_and_no_narrower_or_wider_one(name: str) -> None:
    add, weights, scale = SAMPLERS[name]
    sample = add(np.zeros(DRAWS, dtype=np.int64), scale=scale)
    assert chi_square(sample, weights, scale) > ONE_IN_A_MILLION
    for wrong in (2 / 3, 3 / 2):
        assert chi_square(sample, weights, wrong * scale) < ONE_IN_A_MILLION


def test_a_rounded_normal_is_told_from_a_narrow_discrete_gaussian() -> None:
    """The power of the test above, at the scale where rounding shows."""
    rounded = np.rint(np.random.default_rng(0).normal(0, 0.6, DRAWS)).astype(np.int64)
    assert chi_square(rounded, gaussian, 0.6) < ONE_IN_A_MILLION


@pytest.mark.parametrize("add", [add_discrete_gaussian, add_geometric])
def test_every_entry_has_noise_of_its_own_zeros_too(add) -> None:
    counts = np.zeros((50, 8, 2), dtype=np.int64)
    counts[:, 3] = 1000
    noisy = add(counts, scale=30.0)
    assert noisy.shape == counts.shape
    assert noisy.dtype == np.int64
    assert (noisy[counts == 0] != 0).mean() > 0.9
    assert abs(noisy[:, 3].mean() - 1000) < 30
    assert not np.array_equal(noisy, add(counts, scale=30.0))


def test_signed_sums_are_unbiased_and_clipped_ones_are_not() -> None:
    """Clipping at zero adds scale / sqrt(2 pi), 0.4 scale, to a count that is zero."""
    scale, empty = 29.3, np.zeros(DRAWS, dtype=np.int64)
    noisy = add_discrete_gaussian(empty, scale=scale)
    error = scale / np.sqrt(DRAWS)
    assert abs(noisy.mean()) < 5 * error
    assert abs(np.maximum(noisy, 0).mean() - scale / np.sqrt(2 * np.pi)) < 5 * error
    assert abs(0.4 - 1 / np.sqrt(2 * np.pi)) < 0.002


def test_counts_that_are_no_integers_or_have_no_room_are_refused() -> None:
    with pytest.raises(ValueError, match="integer counts"):
        add_geometric(np.zeros(3), scale=1.0)
    with pytest.raises(ValueError, match="no room"):
        add_geometric(np.array([2**60]), scale=1.0)
