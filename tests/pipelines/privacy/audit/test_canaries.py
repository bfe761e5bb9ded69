"""Window and slot canaries are what their scores take for granted."""

import numpy as np
import pytest
import torch

from data.windows import Series
from models.forecaster import Scaler
from pipelines.privacy.audit.canaries import REACH, blanked, canary_hash, flip_coins, window_canaries
from pipelines.privacy.audit.slot_canaries import HEIGHT, samples_with, slot_canaries, spiked, windows_with
from pipelines.privacy.units import windows_of

NODES, STEPS, WINDOW, HORIZON = 3, 400, 6, 2


@pytest.fixture(scope="module")
def scaler() -> Scaler:
    values = torch.randn(100, NODES, 1, dtype=torch.float64) * 50 + 1000
    return Scaler(NODES, 1).fit(values, torch.ones_like(values, dtype=torch.bool))


@pytest.fixture(scope="module")
def series() -> Series:
    values = torch.randn(STEPS, NODES, 1, dtype=torch.float64)
    return Series(values, torch.ones_like(values, dtype=torch.bool), torch.rand(STEPS, 3))


def _windows(scaler: Scaler, series: Series, *, seed: int = 1, count: int = 500):
    return window_canaries(count, scaler=scaler, calendar=series.calendar, window=WINDOW, horizon=HORIZON, seed=seed)


def test_window_targets_are_coins_one_deviation_off_the_last_value(scaler, series):
    batch = _windows(scaler, series)
    change = scaler.scale(batch.y) - scaler.scale(batch.x[:, -1:])
    torch.testing.assert_close(change.abs(), torch.ones_like(change), atol=1e-4, rtol=0)  # float32 of values near 1000
    assert abs(change.mean()) < 4 / np.sqrt(change.numel())
    assert scaler.scale(batch.x).abs().max() <= REACH + 1e-4


def test_window_canaries_have_real_times_and_every_value(scaler, series):
    batch = _windows(scaler, series)
    assert batch.mask.all()
    assert batch.y_mask.all()
    times = series.calendar.unfold(0, WINDOW + HORIZON, 1).movedim(-1, 1)  # [S, W + H, 3]
    assert all((times == own).all(dim=(1, 2)).any() for own in batch.calendar[:20])


def test_a_seed_gives_the_same_canaries_and_other_coins_than_contexts(scaler, series):
    assert canary_hash(_windows(scaler, series).x) == canary_hash(_windows(scaler, series).x)
    assert canary_hash(_windows(scaler, series).x) != canary_hash(_windows(scaler, series, seed=2).x)
    assert not (flip_coins(200, seed=1) == flip_coins(200, seed=2)).all()


def test_blanked_canaries_keep_their_number_and_lose_values_and_targets(scaler, series):
    batch = _windows(scaler, series, count=6)
    coins = np.array([True, False, False, True, True, False])
    left = blanked(batch, coins)
    assert len(left.x) == 6
    torch.testing.assert_close(left.x[[0, 3, 4]], batch.x[[0, 3, 4]])
    for part in (left.x, left.mask, left.y, left.y_mask):
        assert not part[[1, 2, 5]].any()


@pytest.mark.parametrize("count", [1, 10, 25])
def test_spikes_are_so_far_apart_that_no_window_holds_two(series, count):
    std = torch.ones(NODES, 1, dtype=torch.float64)
    found = slot_canaries(count, series, std=std, first=0, last=STEPS, window=WINDOW, horizon=HORIZON, seed=3)
    assert found.slots.min() >= 0
    assert found.slots.max() < STEPS
    assert (np.diff(found.slots) >= 2 * (WINDOW + HORIZON)).all()
    holds = windows_with(found, torch.arange(STEPS - WINDOW - HORIZON + 1), window=WINDOW, horizon=HORIZON)
    assert holds.sum(dim=0).max() == 1
    inner = (found.slots >= WINDOW + HORIZON) & (found.slots < STEPS - WINDOW - HORIZON)
    assert (holds.sum(dim=1)[torch.from_numpy(inner)] == WINDOW + HORIZON).all()


def test_spikes_change_their_slots_alone(series):
    std = torch.full((NODES, 1), 2.0, dtype=torch.float64)
    found = slot_canaries(10, series, std=std, first=50, last=350, window=WINDOW, horizon=HORIZON, seed=3)
    change = (spiked(series, found).values - series.values).abs()
    torch.testing.assert_close(change[found.slots], torch.full_like(change[:10], HEIGHT * 2.0))
    assert np.flatnonzero(change.sum(dim=(1, 2)).numpy()).tolist() == found.slots.tolist()


def test_the_samples_of_a_slot_are_all_that_hold_it_and_are_told_apart_by_whether_it_is_a_target(series):
    std = torch.full((NODES, 1), 2.0, dtype=torch.float64)
    lengths = {"window": WINDOW, "horizon": HORIZON}
    found = slot_canaries(10, series, std=std, first=50, last=350, seed=3, **lengths)
    batch, owner, is_target = samples_with(series, found, steps=400, **lengths)
    assert np.bincount(owner).tolist() == [WINDOW + HORIZON] * 10
    assert np.bincount(owner, weights=is_target).tolist() == [HORIZON] * 10
    spike = found.values[owner][:, None]  # [S, 1, N, F]
    assert ((batch.y == spike).all(dim=(2, 3)).any(dim=1).numpy() == is_target).all()
    assert ((batch.x == spike).all(dim=(2, 3)).any(dim=1).numpy() == ~is_target).all()
    coins = np.arange(10) % 2 == 0
    left = blanked(batch, coins[owner])
    assert (left.y_mask.any(dim=(1, 2, 3)).numpy() == coins[owner]).all()


@pytest.mark.parametrize("stride", [1, 3, 5])
def test_a_slot_is_in_as_many_samples_as_the_accounting_takes_it_to_be(series, stride):
    """In more, a right training would be refuted: its epsilon is of a slot that weighs less."""
    std, lengths = torch.ones(NODES, 1, dtype=torch.float64), {"window": WINDOW, "horizon": HORIZON}
    found = slot_canaries(10, series, std=std, first=50, last=350, seed=3, **lengths)
    _, owner, _ = samples_with(series, found, steps=400, stride=stride, **lengths)
    held = np.bincount(owner, minlength=10)
    assert held.max() == windows_of(slots=1, stride=stride, **lengths)
    assert held.min() >= (WINDOW + HORIZON) // stride


def test_more_spikes_than_fit_are_refused(series):
    with pytest.raises(ValueError, match="take at most 25"):
        slot_canaries(26, series, std=torch.ones(NODES, 1), first=0, last=STEPS, window=WINDOW, horizon=HORIZON, seed=3)
