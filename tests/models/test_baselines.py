import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.baselines import HistoricalMean, Linear, Naive, SeasonalNaive


def window(values: list[float], missing: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.tensor(values).reshape(1, -1, 1, 1)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, list(missing)] = False
    return x, mask, torch.zeros(1, 99, 3)


def test_naive_holds_the_last_observed_value() -> None:
    assert Naive(3)(*window([1, 2, 3, 4], missing=(3,))).flatten().tolist() == [3, 3, 3]


def test_the_linear_continuation_adds_the_last_step_s_change_at_each_lead() -> None:
    assert Linear(3)(*window([9, 1, 2, 4])).flatten().tolist() == [6, 8, 10]


def test_the_linear_continuation_reads_the_last_two_observed_values_and_counts_the_gaps() -> None:
    """2 at step 1 and 8 at step 4 are a slope of 2; step 6 is the first to forecast."""
    assert Linear(2)(*window([5, 2, 9, 9, 8, 9], missing=(2, 3, 5))).flatten().tolist() == [12, 14]


def test_a_single_observation_has_no_slope() -> None:
    assert Linear(2)(*window([7, 3, 7], missing=(0, 2))).flatten().tolist() == [3, 3]
    assert Linear(2)(*window([3])).flatten().tolist() == [3, 3]


@given(st.integers(0, 999))
def test_the_linear_continuation_is_the_line_that_two_points_have(seed: int) -> None:
    """By numpy, series by series, with gaps anywhere."""
    draw = np.random.default_rng(seed)
    values, seen = draw.normal(size=(2, 6, 3, 2)), draw.random((2, 6, 3, 2)) < 0.5
    forecast = Linear(4, otherwise=5.0)(torch.tensor(values), torch.tensor(seen), torch.zeros(2, 10, 3))
    for b, n, f in np.ndindex(2, 3, 2):
        steps = np.flatnonzero(seen[b, :, n, f])[-2:]
        line = np.polyfit(steps, values[b, steps, n, f], len(steps) - 1) if len(steps) else [5.0]
        assert forecast[b, :, n, f].numpy() == pytest.approx(np.polyval(line, np.arange(6, 10)), abs=1e-9)


def test_seasonal_naive_repeats_the_season_beyond_its_length() -> None:
    assert SeasonalNaive(5, 3)(*window([9, 1, 2, 3])).flatten().tolist() == [1, 2, 3, 1, 2]


def test_seasonal_naive_looks_a_season_further_back_where_one_is_missing() -> None:
    forecast = SeasonalNaive(3, 3)(*window([10, 20, 30, 11, 21, 31], missing=(4,)))
    assert forecast.flatten().tolist() == [11, 20, 31]


def test_seasonal_naive_falls_back_on_the_last_value() -> None:
    assert SeasonalNaive(3, 3)(*window([1, 2, 3], missing=(1,))).flatten().tolist() == [1, 3, 3]


def test_a_season_longer_than_the_window_is_refused() -> None:
    with pytest.raises(ValueError, match="season of 9"):
        SeasonalNaive(1, 9)(*window([1, 2, 3]))


def test_a_series_unseen_in_the_window_is_forecast_by_what_stands_in():
    """Not by zero, which for a level of a thousand is no yardstick."""
    x = torch.arange(8.0).reshape(1, 4, 2, 1)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, :, 1] = False
    mean = torch.tensor([[900.0], [1000.0]])
    calendar = torch.zeros(1, 7, 3)
    assert Naive(3, otherwise=mean)(x, mask, calendar)[0, :, :, 0].tolist() == [[6.0, 1000.0]] * 3
    line = Linear(3, otherwise=mean)(x, mask, calendar)[0, :, :, 0]
    assert line.tolist() == [[8.0, 1000.0], [10.0, 1000.0], [12.0, 1000.0]]
    seasonal = SeasonalNaive(3, 4, otherwise=mean)(x, mask, calendar)[0, :, :, 0]
    assert seasonal.tolist() == [[0.0, 1000.0], [2.0, 1000.0], [4.0, 1000.0]]


def week_of(hours: int, slots_per_day: int) -> torch.Tensor:
    """The calendar of consecutive steps from a Monday, [T, 3]."""
    step = torch.arange(hours)
    day = (step % slots_per_day).double() / slots_per_day
    return torch.stack([day, (step // slots_per_day % 7).double(), torch.zeros(hours)], dim=-1).float()


@pytest.mark.parametrize("slots_per_day", [1, 3, 24, 48, 96])
def test_the_historical_mean_is_that_of_the_same_time_of_the_week(slots_per_day: int) -> None:
    """By numpy, with gaps; a calendar is float32, in which most shares of a day are not exact."""
    week, draw = 7 * slots_per_day, np.random.default_rng(0)
    values, mask = draw.normal(size=(3 * week, 2, 1)), draw.random((3 * week, 2, 1)) < 0.7
    clock = week_of(4 * week, slots_per_day)
    model = HistoricalMean(slots_per_day, 2, 1).fit(torch.tensor(values), torch.tensor(mask), clock[: 3 * week])
    x = torch.zeros(1, week, 2, 1)
    forecast = model(x, x > 0, clock[None, 2 * week :])[0].numpy()
    seen = np.where(mask, values, np.nan).reshape(3, week, 2, 1)
    count = (~np.isnan(seen)).sum(axis=0)
    expected = np.where(count > 0, np.nansum(seen, axis=0) / np.maximum(count, 1), np.nanmean(seen, axis=(0, 1)))
    np.testing.assert_allclose(forecast, expected)
