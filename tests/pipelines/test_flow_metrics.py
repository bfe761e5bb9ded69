import numpy as np
import polars as pl
import pytest

from pipelines.flow_metrics import node_totals, score_flows, total_mask

C, H, N = 3, 2, 4


@pytest.fixture
def truth() -> np.ndarray:
    return np.random.default_rng(0).poisson(3.0, size=(C, H, N, N)).astype(float)


def scores_of(forecast: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> pl.DataFrame:
    known = np.random.default_rng(1).poisson(3.0, size=(30, N, N)).astype(float)
    training = known, np.ones(known.shape, dtype=bool)
    seen = np.ones(truth.shape, dtype=bool) if mask is None else mask
    return score_flows({"ours": forecast}, truth, seen, training=training, season=1)


def row(scores: pl.DataFrame, variable: str, horizon: int = 0) -> dict[str, float]:
    return scores.filter((pl.col("variable") == variable) & (pl.col("horizon") == horizon)).row(0, named=True)


def test_totals_are_the_sums_of_the_pairs(truth: np.ndarray) -> None:
    """By a slow loop: outflow of u over its targets, inflow of v over its sources; both add up to the same trips."""
    out, into = node_totals(truth, "outflow"), node_totals(truth, "inflow")
    for c, h, n in np.ndindex(C, H, N):
        assert out[c, h, n, 0] == sum(truth[c, h, n, v] for v in range(N))
        assert into[c, h, n, 0] == sum(truth[c, h, u, n] for u in range(N))
    np.testing.assert_array_equal(out.sum(axis=(2, 3)), into.sum(axis=(2, 3)))


def test_the_scores_of_totals_are_those_of_summed_forecasts(truth: np.ndarray) -> None:
    forecast = truth + np.random.default_rng(2).normal(size=truth.shape).clip(-0.1)
    scores = scores_of(forecast, truth)
    for variable, axis in (("outflow", 3), ("inflow", 2)):
        error = np.abs(forecast.sum(axis) - truth.sum(axis))
        assert row(scores, variable)["mae"] == pytest.approx(error.mean())
        assert row(scores, variable, 2)["mae"] == pytest.approx(error[:, 1].mean())
        assert row(scores, variable)["count"] == C * H * N
    assert row(scores, "all")["mae"] == pytest.approx(np.abs(forecast - truth).mean())


def test_errors_of_opposite_pairs_cancel_in_a_total(truth: np.ndarray) -> None:
    forecast = truth + 1
    forecast[..., ::2] -= 2  # half of the targets too high, half too low
    assert row(scores_of(forecast, truth), "outflow")["mae"] == 0
    assert row(scores_of(forecast, truth), "inflow")["mae"] == N


def test_the_common_part_of_commuters_is_the_shared_trips(truth: np.ndarray) -> None:
    """Known figures: 1 for the truth itself, 0 for flows elsewhere, 2/3 for twice the truth."""
    assert row(scores_of(truth, truth), "all")["cpc"] == 1
    assert row(scores_of(2 * truth, truth), "all")["cpc"] == pytest.approx(2 / 3)
    elsewhere = np.where(truth > 0, 0.0, 1.0)
    assert row(scores_of(elsewhere, truth), "all")["cpc"] == 0


def test_nothing_forecast_where_nothing_flows_has_no_common_part() -> None:
    nothing = np.zeros((C, H, N, N))
    assert np.isnan(row(scores_of(nothing, nothing), "all")["cpc"])
    assert row(scores_of(nothing, nothing), "outflow")["mae"] == 0


def test_a_total_counts_where_all_its_pairs_were_observed(truth: np.ndarray) -> None:
    mask = np.ones(truth.shape, dtype=bool)
    mask[0, 0, 1, 2] = False
    assert not total_mask(mask, "outflow")[0, 0, 1, 0]
    assert not total_mask(mask, "inflow")[0, 0, 2, 0]
    assert total_mask(mask, "outflow").sum() == total_mask(mask, "inflow").sum() == C * H * N - 1
    far_off = np.where(mask, truth, 1e6)
    assert row(scores_of(far_off, truth, mask), "outflow")["mae"] == 0
