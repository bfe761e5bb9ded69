from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from data.dataset import DataSet
from data.errors import DataError
from pipelines.errors import SpecError
from pipelines.prepare import persistence_is_closer, prepare, seasons_of, slots_per_day
from pipelines.spec import Spec


@pytest.mark.parametrize(
    ("interval", "seasons", "slots"),
    [
        ("1h", {"day": 24, "week": 168}, 24),
        ("30m", {"day": 48, "week": 336}, 48),
        ("7m", {"week": 1440}, 206),
        ("1d", {"week": 7, "year": 365}, 1),
        ("1w", {"year": 52}, 1),
        ("1mo", {"year": 12}, 1),
        ("3mo", {"year": 4}, 1),
        ("1y", {}, 1),
    ],
)
def test_the_seasons_of_an_interval(interval: str, seasons: dict[str, int], slots: int) -> None:
    assert seasons_of(interval) == seasons
    assert slots_per_day(interval) == slots


def test_auto_means_a_day_ahead_by_the_hour(waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]) -> None:
    prepared = prepare(wave_spec(task={"window": "auto", "horizon": "auto"}), waves(2000))
    assert (prepared.shape.window, prepared.shape.horizon) == (48, 24)


@pytest.mark.parametrize("interval", ["15m", "1h", "24h", "48h", "1440m", "1d", "3d", "1w", "1mo", "1q", "1y"])
def test_auto_knows_every_interval(
    interval: str, waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    dataset = waves()
    dataset = replace(dataset, panel=replace(dataset.panel, interval=interval))
    shape = prepare(wave_spec(task={"window": "auto", "horizon": "auto"}), dataset).shape
    assert 1 <= shape.horizon < shape.window


def test_auto_reads_no_more_than_a_day_of_five_minutes(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    dataset = waves(9000)
    panel = replace(
        dataset.panel, interval="5m", index=pd.date_range("2024-01-01", periods=9000, freq="5min", tz="UTC")
    )
    shape = prepare(wave_spec(task={"window": "auto", "horizon": "auto"}), replace(dataset, panel=panel)).shape
    assert (shape.window, shape.horizon) == (288, 24)


@pytest.mark.parametrize("steps", [60, 100, 300])
def test_auto_fits_short_data(steps: int, waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]) -> None:
    prepared = prepare(wave_spec(task={"window": "auto", "horizon": "auto"}), waves(steps))
    assert prepared.ranges.train_end >= prepared.shape.window + prepared.shape.horizon


def test_a_horizon_longer_than_the_data_is_told(waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]) -> None:
    with pytest.raises(SpecError, match=r"shorten task\.horizon"):
        prepare(wave_spec(task={"horizon": 5000}), waves())


def test_an_unknown_variable_is_told_with_those_there_are(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    with pytest.raises(SpecError, match="no variable 'inflow'; the data has y"):
        prepare(wave_spec(task={"target": ["inflow"]}), waves())


def test_a_value_beyond_all_measure_is_told_with_its_place(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    dataset = waves(missing=0)
    dataset.panel.values[30, 1] = 1e39
    with pytest.raises(DataError, match=r"y of 'n1' at 2024-01-02T06:00:00\+01:00 is 1e\+39"):
        prepare(wave_spec(), dataset)


def test_the_busiest_nodes_come_first(waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]) -> None:
    dataset = waves()
    dataset.panel.values[:, 2] *= 3
    dataset.panel.values[:, 1] *= 2
    assert prepare(wave_spec(task={"busiest": 2}), dataset).panel.nodes == ("n2", "n1")


def test_a_node_unseen_in_training_is_left_out_and_told(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    dataset = waves()
    dataset.panel.mask[:300, 1] = False
    prepared = prepare(wave_spec(), dataset)
    assert prepared.panel.nodes == ("n0", "n2")
    assert "1 of 3 nodes" in prepared.notes[0]


def test_persistence_wins_on_a_slow_walk_and_the_mean_on_noise() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(500, 2, 1)))
    seen = torch.ones_like(noise, dtype=torch.bool)
    assert persistence_is_closer(noise.cumsum(0), seen, horizon=3)
    assert not persistence_is_closer(noise, seen, horizon=3)


def test_a_series_with_a_trend_and_a_season_is_forecast_by_its_change() -> None:
    """On the whole its mean is closer than a value half a season ago; but that mean has been left behind."""
    time = torch.arange(100.0).reshape(-1, 1, 1)
    values = 0.5 * time + 8 * torch.sin(2 * torch.pi * time / 7)
    assert persistence_is_closer(values, torch.ones_like(values, dtype=torch.bool), horizon=7)


def test_nothing_prepared_depends_on_what_comes_after_training(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec]
) -> None:
    """All later values replaced by noise: the same nodes, ranges, form of the output."""
    dataset = waves()
    spec = wave_spec(task={"busiest": 2})
    before = prepare(spec, dataset)
    later = dataset.panel.values.copy()
    later[before.ranges.train_end :] = (
        np.random.default_rng(1).normal(size=later[before.ranges.train_end :].shape) * 1e4
    )
    after = prepare(spec, replace(dataset, panel=replace(dataset.panel, values=later)))
    assert (after.panel.nodes, after.ranges, after.shape) == (before.panel.nodes, before.ranges, before.shape)
