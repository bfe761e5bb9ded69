from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import assume, given
from hypothesis.strategies import integers

from data.panel import Panel
from data.splits import sample_starts
from data.windows import Series, WindowSampler, observed_starts


def clock_series(steps: int) -> Series:
    """The value is its own time, so that a leak shows as a target no later than an input."""
    time = torch.arange(steps, dtype=torch.float32)
    values = time.reshape(-1, 1, 1).expand(-1, 2, 1)
    return Series(values, torch.ones_like(values, dtype=torch.bool), time[:, None].expand(-1, 3))


@given(steps=integers(2, 40), window=integers(1, 8), horizon=integers(1, 4), stride=integers(1, 5))
def test_every_target_lies_right_behind_its_window(steps: int, window: int, horizon: int, stride: int) -> None:
    assume(steps >= window + horizon)
    series = clock_series(steps)
    starts = torch.tensor(list(sample_starts(0, steps, window=window, horizon=horizon, stride=stride)))
    batch = WindowSampler(series, starts, window=window, horizon=horizon).take(slice(None))
    assert torch.equal(batch.x[:, :, 0, 0], starts[:, None] + torch.arange(window))
    assert torch.equal(batch.y[:, :, 0, 0], starts[:, None] + window + torch.arange(horizon))
    assert torch.equal(batch.calendar[:, :, 0], starts[:, None] + torch.arange(window + horizon))


@given(first=integers(0, 30), length=integers(1, 20), window=integers(1, 6), horizon=integers(1, 5))
def test_the_targets_of_a_range_stay_in_it(first: int, length: int, window: int, horizon: int) -> None:
    for start in sample_starts(first, first + length, window=window, horizon=horizon):
        assert start >= 0
        assert first <= start + window
        assert start + window + horizon <= first + length


def test_batches_hand_out_every_sample_once_in_the_given_order() -> None:
    sampler = WindowSampler(clock_series(20), torch.arange(0, 15), window=3, horizon=2)
    order = torch.randperm(15)
    first = torch.cat([batch.x[:, 0, 0, 0] for batch in sampler.batches(4, order)])
    assert torch.equal(first, order.float())


def test_a_sample_without_an_observed_target_is_no_sample() -> None:
    series = clock_series(10)
    mask = series.mask.clone()
    mask[5:7] = False
    gappy = Series(series.values, mask, series.calendar)
    starts = observed_starts(gappy, range(7), window=2, horizon=2)
    assert starts.tolist() == [0, 1, 2, 4, 5, 6]  # the targets of start 3 are steps 5 and 6


def test_what_was_not_observed_is_zero_and_masked() -> None:
    values = np.array([[[1.0]], [[np.nan]], [[3.0]]])
    index = pd.date_range("2024-01-01", periods=3, freq="h", tz="UTC")
    panel = Panel(values, ~np.isnan(values), index, ("a",), ("y",), "1h", pl.DataFrame({"node": ["a"]}))
    series = Series.of(panel, np.zeros((3, 3)))
    assert series.values.flatten().tolist() == [1.0, 0.0, 3.0]
    assert series.mask.flatten().tolist() == [True, False, True]


def test_a_series_stays_where_it_is_when_the_device_has_no_room_for_it() -> None:
    """`meta` stands for a device: a batch goes there, the series only with room for it."""
    series, meta = clock_series(1000), torch.device("meta")
    assert series.near(meta, free_bytes=2 * series.bytes).values.device == meta
    assert series.near(meta, free_bytes=2 * series.bytes - 1) is series
    sampler = WindowSampler(series, torch.arange(10), window=3, horizon=2, target=meta)
    assert next(sampler.batches(4)).x.device == meta


@given(window=integers(1, 6), horizon=integers(1, 4), read=integers(1, 6))
def test_edges_are_those_of_the_newest_steps_and_never_of_the_future(window: int, horizon: int, read: int) -> None:
    """An edge weighs its own time, so that a leak shows as one no earlier than a target."""
    assume(read <= window)
    series = clock_series(20)
    linked = replace(series, edges=torch.arange(20.0)[:, None, None].expand(20, 2, 2))
    starts = torch.arange(20 - window - horizon + 1)
    batch = WindowSampler(linked, starts, window=window, horizon=horizon, edge_steps=read).take(slice(None))
    assert torch.equal(batch.edges[:, :, 0, 1], starts[:, None] + torch.arange(window - read, window))
    assert (batch.edges.amax(dim=(1, 2, 3)) < batch.y[:, 0, 0, 0]).all()
    assert batch.inputs[3] is batch.edges


def test_edges_are_handed_out_to_those_who_ask_alone() -> None:
    series = clock_series(9)
    linked, starts = replace(series, edges=torch.zeros(9, 2, 2)), torch.arange(3)
    assert WindowSampler(linked, starts, window=3, horizon=2).take(slice(None)).edges is None
    assert linked.near(torch.device("meta"), free_bytes=2 * linked.bytes).edges.device == torch.device("meta")
    assert linked.bytes == series.bytes + 9 * 4 * 4
    with pytest.raises(ValueError, match="has no edges"):
        WindowSampler(series, starts, window=3, horizon=2, edge_steps=1)
