import math

import numpy as np
import pytest

from pipelines.metrics import measure, naive_error, score

ONES = np.ones((1, 1))


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float).reshape(-1, 1, 1, 1)


def test_the_figures_of_a_worked_example() -> None:
    """By hand: errors 1, 0, 4; MAPE leaves out the zero truth; sMAPE counts it as 2."""
    found = measure(column(2, 0, 6), column(1, 0, 10), column(1, 1, 1) > 0, 2 * ONES, 0.01 * ONES)
    assert found["mae"] == pytest.approx(5 / 3)
    assert found["rmse"] == pytest.approx((17 / 3) ** 0.5)
    assert found["mape"] == pytest.approx((1 + 0.4) / 2)
    assert found["smape"] == pytest.approx((2 / 3 + 0 + 8 / 16) / 3)
    assert found["mase"] == pytest.approx(5 / 6)
    assert found["msle"] == pytest.approx((math.log(3 / 2) ** 2 + 0 + math.log(7 / 11) ** 2) / 3)


def test_what_was_not_observed_does_not_count() -> None:
    mask = column(1, 1, 0) > 0
    wild = measure(column(1, 2, 1e9), column(2, 2, -1e9), mask, ONES, 0 * ONES)
    assert wild["mae"] == pytest.approx(0.5)
    assert wild["count"] == 2


def test_nothing_observed_is_not_a_number_and_not_zero() -> None:
    assert np.isnan(measure(column(1), column(2), column(0) > 0, ONES, ONES)["mae"])


def test_node_rmse_is_the_mean_of_each_series_own() -> None:
    truth = np.zeros((2, 1, 2, 1))
    forecast = truth.copy()
    forecast[:, :, 0] = 3
    forecast[:, :, 1] = 1
    found = measure(forecast, truth, truth == 0, np.ones((2, 1)), np.ones((2, 1)))
    assert found["node_rmse"] == pytest.approx(2)
    assert found["rmse"] == pytest.approx(5**0.5)


def test_the_unit_of_mase_is_the_seasonal_naive_of_training() -> None:
    values = np.array([1.0, 5.0, 2.0, 7.0, 4.0, 9.0]).reshape(-1, 1, 1)
    mask = np.ones_like(values, dtype=bool)
    assert naive_error(values, mask, 2).item() == pytest.approx((1 + 2 + 2 + 2) / 4)
    assert np.isnan(naive_error(np.ones_like(values), mask, 2).item())


def test_the_logarithm_of_what_has_none_is_not_a_number() -> None:
    wrong = column(1, 1) > 0
    assert np.isnan(measure(column(1, -1), column(1, 1), wrong, ONES, ONES)["msle"])
    assert np.isnan(measure(column(1, 1), column(1, -2), wrong, ONES, ONES)["msle"])
    unseen = np.array([True, False]).reshape(wrong.shape)
    assert measure(column(1, -9), column(1, 1), unseen, ONES, ONES)["msle"] == 0


@pytest.mark.parametrize("is_count", [True, False])
def test_msle_is_of_counts_alone(is_count: bool) -> None:
    truth = np.ones((2, 2, 1, 1))
    table = score({"m": 2 * truth}, truth, truth > 0, variables=("y",), unit=ONES, is_count=is_count)
    assert table["msle"].is_finite().all() == is_count
    assert table["mae"].to_list() == [1.0, 1.0, 1.0]


def test_scores_are_told_per_lead_time_and_variable() -> None:
    truth = np.zeros((4, 3, 2, 2))
    forecast = np.broadcast_to(np.arange(1.0, 4.0)[None, :, None, None], truth.shape)
    table = score({"m": forecast}, truth, truth == 0, variables=("in", "out"), unit=np.ones((2, 2)), is_count=True)
    rows = {(row["horizon"], row["variable"]): row["mae"] for row in table.iter_rows(named=True)}
    assert rows == {(h, v): (2.0 if h == 0 else float(h)) for h in range(4) for v in ("all", "in", "out")}
