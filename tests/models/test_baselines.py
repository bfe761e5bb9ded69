import pytest
import torch

from models.baselines import Naive, SeasonalNaive


def window(values: list[float], missing: tuple[int, ...] = ()) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.tensor(values).reshape(1, -1, 1, 1)
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, list(missing)] = False
    return x, mask, torch.zeros(1, 99, 3)


def test_naive_holds_the_last_observed_value() -> None:
    assert Naive(3)(*window([1, 2, 3, 4], missing=(3,))).flatten().tolist() == [3, 3, 3]


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
    seasonal = SeasonalNaive(3, 4, otherwise=mean)(x, mask, calendar)[0, :, :, 0]
    assert seasonal.tolist() == [[0.0, 1000.0], [2.0, 1000.0], [4.0, 1000.0]]
