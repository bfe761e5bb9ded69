from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from data.correlation_graph import correlation_graph, pairwise_correlation
from data.panel import Panel


@pytest.fixture
def panel() -> Panel:
    """b follows a, c goes against both, d is noise, e is constant in training; with holes."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=80)
    columns = [a, a + 0.3 * rng.normal(size=80), -a, rng.normal(size=80), np.full(80, 3.7)]
    values = 1e6 + np.stack(columns, axis=1)[..., None]
    mask = rng.random(values.shape) > 0.2
    return Panel(
        values=np.where(mask, values, np.nan),
        mask=mask,
        index=pd.date_range("2024-01-01", periods=80, freq="h", tz="UTC"),
        nodes=tuple("abcde"),
        variables=("y",),
        interval="1h",
        static=pl.DataFrame({"node": list("abcde")}),
    )


def test_alike_series_are_joined_and_opposite_unrelated_and_constant_ones_are_not(panel):
    graph = correlation_graph(panel, "y", train_end=60)
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert len(graph.nodes) == 5


def test_the_correlation_is_that_of_pandas_over_the_shared_steps(panel):
    values, mask = panel.values[:, :4, 0], panel.mask[:, :4, 0]
    expected = pd.DataFrame(np.where(mask, values, np.nan)).corr(min_periods=3).to_numpy()
    np.testing.assert_allclose(pairwise_correlation(values, mask), expected, atol=1e-9)


def test_pairs_that_share_fewer_than_three_steps_have_no_correlation():
    values = np.arange(8.0).reshape(4, 2)
    mask = np.array([[True, False], [True, True], [True, True], [False, True]])
    assert np.isnan(pairwise_correlation(values, mask)[0, 1])


def test_a_series_that_is_constant_where_both_are_seen_has_no_correlation_there():
    """Its sum of squares is 0 but for rounding, of either sign."""
    rng = np.random.default_rng(0)
    for shared in range(3, 40):
        values = rng.normal(size=(60, 2))
        values[:shared, 1] = 0.1 + 0.7 * shared
        mask = np.stack([np.arange(60) < shared, np.ones(60, dtype=bool)], axis=1)
        assert np.isnan(pairwise_correlation(values, mask)[0, 1])


def test_noise_after_the_training_range_changes_nothing(panel):
    later = np.arange(80) >= 60
    noise = np.random.default_rng(1).normal(size=panel.values.shape) * 1e9
    other = replace(
        panel,
        values=np.where(later[:, None, None], noise, panel.values),
        mask=panel.mask | later[:, None, None],
    )
    before, after = (correlation_graph(one, "y", train_end=60, threshold=0.05) for one in (panel, other))
    assert torch.equal(before.edge_index, after.edge_index)
    assert torch.equal(before.edge_weight, after.edge_weight)
    assert len(before.edge_weight) > 2


def test_what_is_under_the_mask_changes_nothing(panel):
    other = replace(panel, values=np.where(panel.mask, panel.values, -5.0))
    before, after = (correlation_graph(one, "y", train_end=80) for one in (panel, other))
    assert torch.equal(before.edge_weight, after.edge_weight)


@pytest.mark.parametrize(
    ("variable", "train_end", "threshold", "told"),
    [
        ("z", 60, 0.5, "no variable 'z'; the panel has y"),
        ("y", 81, 0.5, "a training range of 81 steps has no correlation in a panel of 80"),
        ("y", 2, 0.5, "a training range of 2 steps"),
        ("y", 60, 0.0, "threshold 0 must be above 0"),
    ],
)
def test_what_makes_no_graph_is_told(panel, variable, train_end, threshold, told):
    with pytest.raises(ValueError, match=told):
        correlation_graph(panel, variable, train_end=train_end, threshold=threshold)
