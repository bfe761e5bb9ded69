from dataclasses import replace

import numpy as np
import pytest

from pipelines.intervals import LEVELS, adaptive_bounds, calibrate, measure_intervals, split_bounds


def skewed(cutoffs: int, *, seed: int, scale: float = 1.0) -> np.ndarray:
    """Residuals [C, 2, 3, 1] with a long upper tail, twice as wide at the second lead time, different by series."""
    draws = np.random.default_rng(seed).exponential(size=(cutoffs, 2, 3, 1)) - 1
    return scale * draws * np.array([1.0, 2.0])[None, :, None, None] * np.array([1.0, 10.0, 100.0])[None, None, :, None]


def everywhere(values: np.ndarray) -> np.ndarray:
    return np.ones_like(values, dtype=bool)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_split_intervals_hold_their_level_at_every_lead_time(level: float) -> None:
    residuals, later = skewed(2000, seed=0), skewed(2000, seed=1)
    calibration = calibrate(residuals, everywhere(residuals), level=level)
    bounds = split_bounds(np.zeros_like(later), calibration, level=level, is_count=False)
    found = measure_intervals("split", level, bounds, later, everywhere(later))
    # three standard errors of 2 x 2000 x 3 draws
    assert found.coverage == pytest.approx(level, abs=0.015)
    assert found.coverage_by_horizon == pytest.approx(level, abs=0.02)


def test_few_residuals_are_pooled_over_series_and_lead_times_stay_apart() -> None:
    residuals, later = skewed(20, seed=0), skewed(4000, seed=1)
    calibration = calibrate(residuals, everywhere(residuals), level=0.9)
    bounds = split_bounds(np.zeros_like(later), calibration, level=0.9, is_count=False)
    found = measure_intervals("split", 0.9, bounds, later, everywhere(later))
    assert 0.84 < found.coverage < 0.97  # 60 draws per lead time


def test_a_small_sample_is_answered_by_wider_intervals() -> None:
    """The finite-sample correction: with 30 residuals the 95 % tails are the extremes."""
    residuals = np.arange(30.0).reshape(-1, 1, 1, 1)
    calibration = calibrate(residuals, everywhere(residuals), level=0.9)
    low, high = calibration.bounds(0.95)
    assert (low.item(), high.item()) == (0.0, 29.0)


def test_missing_residuals_change_nothing() -> None:
    residuals = skewed(100, seed=0)
    mask = np.random.default_rng(2).random(residuals.shape) > 0.3
    wild = np.where(mask, residuals, 1e9)
    plain, disturbed = (calibrate(r, mask, level=0.9).quantiles for r in (residuals, wild))
    assert np.array_equal(plain, disturbed)


def test_quantiles_never_cross() -> None:
    quantiles = calibrate(skewed(50, seed=3), everywhere(skewed(50, seed=3)), level=0.9).quantiles
    assert (np.diff(quantiles, axis=0) >= 0).all()
    assert len(quantiles) == len(LEVELS)


def test_adaptive_intervals_follow_a_world_that_got_wilder() -> None:
    residuals, later = skewed(300, seed=0), skewed(1500, seed=1, scale=1.7)
    mask = everywhere(later)
    calibration = calibrate(residuals, everywhere(residuals), level=0.9)
    zero = np.zeros_like(later)
    split = split_bounds(zero, calibration, level=0.9, is_count=False)
    adaptive, final = adaptive_bounds(zero, later, mask, calibration, level=0.9, is_count=False, stride=1)
    plain, adapted = (measure_intervals("", 0.9, bounds, later, mask).coverage for bounds in (split, adaptive))
    assert plain < 0.85
    assert adapted > plain + 0.03
    assert (final.asked < calibration.miss).all()


def test_adaptive_intervals_know_nothing_of_the_future() -> None:
    """Noise in every truth that a cutoff can't know yet leaves its interval as it is."""
    residuals, later = skewed(300, seed=0), skewed(50, seed=1)
    calibration = calibrate(residuals, everywhere(residuals), level=0.9)
    zero, mask, cutoff = np.zeros_like(later), everywhere(later), 30
    noisy = later.copy()
    for lead in (1, 2):
        noisy[cutoff - lead + 1 :, lead - 1] += 1e6  # the target of cutoff c at this lead is seen at c + lead
    (lower, upper), _ = adaptive_bounds(zero, later, mask, calibration, level=0.9, is_count=False, stride=1)
    (low, high), _ = adaptive_bounds(zero, noisy, mask, calibration, level=0.9, is_count=False, stride=1)
    assert np.array_equal(lower[: cutoff + 1], low[: cutoff + 1])
    assert np.array_equal(upper[: cutoff + 1], high[: cutoff + 1])
    assert not np.array_equal(upper[cutoff + 1 :], high[cutoff + 1 :])


def test_counts_are_never_negative() -> None:
    residuals = skewed(100, seed=0)
    calibration = calibrate(residuals, everywhere(residuals), level=0.9)
    lower, _ = split_bounds(np.zeros_like(residuals), calibration, level=0.9, is_count=True)
    assert lower.min() == 0


def test_a_lead_time_with_too_few_residuals_is_calibrated_with_the_others() -> None:
    """One series, 12 cutoffs: the extremes of 12 hold 85 % at best, and of no residual nothing at all."""
    draw = np.random.default_rng(0)
    residuals, later = draw.normal(size=(12, 10, 1, 1)), draw.normal(size=(2000, 10, 1, 1))
    mask = everywhere(residuals)
    mask[:, 9] = False
    calibration = calibrate(residuals, mask, level=0.9)
    bounds = split_bounds(np.zeros_like(later), calibration, level=0.9, is_count=False)
    found = measure_intervals("split", 0.9, bounds, later, everywhere(later))
    # about three standard errors of 108 residuals
    assert found.coverage_by_horizon == pytest.approx(0.9, abs=0.08)


def test_a_high_level_is_not_taken_from_the_extremes_of_a_small_sample() -> None:
    draw = np.random.default_rng(0)
    residuals, later = draw.normal(size=(60, 1, 50, 1)), draw.normal(size=(2000, 1, 50, 1))
    calibration = calibrate(residuals, everywhere(residuals), level=0.99)
    bounds = split_bounds(np.zeros_like(later), calibration, level=0.99, is_count=False)
    found = measure_intervals("split", 0.99, bounds, later, everywhere(later))
    assert found.coverage == pytest.approx(0.99, abs=0.005)  # 60 residuals of one series hold 96.7 % at best


@pytest.mark.parametrize("asked", [0.02, 0.1, 0.6])
def test_adaptation_moves_the_ends_of_the_interval_and_not_the_median(asked: float) -> None:
    residuals = skewed(2000, seed=0)
    plain = calibrate(residuals, everywhere(residuals), level=0.9)
    adapted = replace(plain, asked=np.full(2, asked))
    assert np.array_equal(adapted.residual(0.5), plain.residual(0.5))
    assert adapted.residual(0.95) == pytest.approx(plain.residual(1 - asked / 2))
    between = np.stack([adapted.residual(q) for q in (0.01, 0.05, 0.3, 0.49, 0.5, 0.51, 0.7, 0.95, 0.99)])
    assert (np.diff(between, axis=0) >= 0).all()


def test_where_nothing_was_observed_no_coverage_is_claimed() -> None:
    residuals = skewed(50, seed=0)
    nothing = np.zeros_like(residuals, dtype=bool)
    found = measure_intervals("split", 0.9, (residuals, residuals), residuals, nothing)
    assert np.isnan(found.coverage)
    assert np.isnan(found.coverage_by_horizon).all()
