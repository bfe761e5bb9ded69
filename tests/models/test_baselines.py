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
