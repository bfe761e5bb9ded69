from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from data.dataset import DataSet
from data.splits import Ranges
from pipelines.errors import TrainingError
from pipelines.evaluate import Evaluated, backtest, cut_folds, forecast_at
from pipelines.prepare import Prepared, prepare
from pipelines.results import Backtest
from pipelines.spec import Evaluation, Spec
from pipelines.tables import score_table

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731


@pytest.fixture(scope="module")
def world(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Prepared, Evaluated]:
    spec = wave_spec(
        evaluation={"baselines": ["naive", "linear", "seasonal_naive_day", "seasonal_naive_week", "ridge", "dlinear"]}
    )
    prepared = prepare(spec, waves())
    return prepared, backtest(spec, prepared, folder=tmp_path_factory.mktemp("runs"), say=QUIET)


def test_every_forecast_starts_after_its_cutoff(world: tuple[Prepared, Evaluated]) -> None:
    prepared, evaluated = world
    result = evaluated.backtest
    assert result.truth.shape == result.forecasts["gru"].shape == (80 - 6 + 1, 6, 3, 1)
    step = prepared.panel.index.get_loc(result.cutoffs[4])
    values = np.where(prepared.panel.mask, prepared.panel.values, 0)
    assert np.array_equal(result.truth[4], values[step + 1 : step + 7])


def test_the_yardsticks_are_the_ones_of_the_textbook(world: tuple[Prepared, Evaluated]) -> None:
    prepared, evaluated = world
    result, panel = evaluated.backtest, prepared.panel
    row, node = next((r, n) for r in range(20, 40) for n in range(3) if panel.mask[319 + r - 30 : 319 + r + 1, n].all())
    step = 319 + row
    assert result.forecasts["naive"][row, :, node, 0] == pytest.approx([panel.values[step, node, 0]] * 6, rel=1e-6)
    before, last = panel.values[step - 1 : step + 1, node, 0]
    line = last + np.arange(1, 7) * (last - before)
    assert result.forecasts["linear"][row, :, node, 0] == pytest.approx(line, rel=1e-5)
    yesterday = panel.values[step - 23 : step - 17, node, 0]
    assert result.forecasts["seasonal_naive_day"][row, :, node, 0] == pytest.approx(yesterday, rel=1e-6)


def test_ours_comes_first_and_every_yardstick_is_scored(world: tuple[Prepared, Evaluated]) -> None:
    result = world[1].backtest
    yardsticks = ["naive", "linear", "seasonal_naive_day", "seasonal_naive_week", "ridge", "dlinear"]
    assert list(result.forecasts) == ["gru", *yardsticks]
    assert set(result.scores["model"]) == set(result.forecasts)
    assert result.total("ridge", "mae") < result.total("naive", "mae")


def test_msle_is_told_of_counts_alone(world: tuple[Prepared, Evaluated]) -> None:
    result = world[1].backtest
    assert "msle" not in score_table(result)
    assert "msle" in score_table(replace(result, scores=result.scores.with_columns(msle=pl.lit(0.1))))


def test_the_protocol_says_what_was_done(world: tuple[Prepared, Evaluated]) -> None:
    told = world[1].backtest.protocol
    for part in ("6 steps of 1h ahead from 75 cutoffs", "Europe/Paris", "fitted once", "3 nodes x 1 variable (y)"):
        assert part in told


def test_no_forecast_depends_on_what_comes_after_its_cutoff(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """From one cutoff of the test range on, every value is noise: all forecasts up to that cutoff stay as they were."""
    dataset, spec, first = waves(), wave_spec(), 350
    values = dataset.panel.values.copy()
    values[first:] = np.random.default_rng(1).normal(size=values[first:].shape) * 1e4
    noisy = replace(dataset, panel=replace(dataset.panel, values=values))
    before, after = (
        backtest(spec, prepare(spec, each), folder=tmp_path / name, say=QUIET).backtest
        for name, each in (("calm", dataset), ("noisy", noisy))
    )
    known = first - 1 - 319 + 1  # cutoffs 319 .. 349
    for name in before.forecasts:
        assert np.array_equal(before.forecasts[name][:known], after.forecasts[name][:known]), name
        assert not np.array_equal(before.forecasts[name][known:], after.forecasts[name][known:]), name
    for method in ("split", "adaptive"):
        assert np.array_equal(before.intervals[method].upper[:known], after.intervals[method].upper[:known])


def test_refits_move_training_along_and_leave_no_cutoff_out() -> None:
    ranges = Ranges(280, 320, 400)
    folds = cut_folds(ranges, Evaluation(refits=3, stride=2), horizon=6)
    cutoffs = [cutoff for fold in folds for cutoff in fold.cutoffs]
    assert cutoffs == list(range(319, 394, 2))
    for fold in folds:
        assert fold.ranges.validation_end == fold.cutoffs[0] + 1
        assert fold.ranges.validation_end - fold.ranges.train_end == 40


def test_refitted_models_are_scored_together(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    spec = wave_spec(evaluation={"refits": 2, "baselines": ["naive"]}, training={"epochs": 1})
    evaluated = backtest(spec, prepare(spec, waves()), folder=tmp_path, say=QUIET)
    assert len(evaluated.backtest.truth) == 75
    assert len(list(tmp_path.glob("gru-*"))) == 2
    assert "fitted 2 times" in evaluated.backtest.protocol


def test_the_clock_of_the_cutoffs_is_the_panel_s(world: tuple[Prepared, Evaluated]) -> None:
    result: Backtest = world[1].backtest
    assert result.cutoffs[0] == pd.Timestamp("2024-01-14 07:00", tz="Europe/Paris")


def test_forecasts_do_not_depend_on_how_many_are_made_at_once(
    world: tuple[Prepared, Evaluated], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, evaluated = world
    cutoffs = range(319, 394)
    monkeypatch.setattr("pipelines.evaluate.CHUNK_VALUES", 1)
    one_by_one = forecast_at(evaluated.fitted.network, prepared, cutoffs, window=24)
    assert one_by_one == pytest.approx(evaluated.backtest.forecasts["gru"], rel=1e-5)  # float32


def test_the_naive_forecast_of_a_series_unseen_in_the_window_is_its_training_mean(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    dataset, spec = waves(), wave_spec(evaluation={"baselines": ["naive"]}, training={"epochs": 1})
    mask = dataset.panel.mask.copy()
    mask[295:330, 1] = False
    holed = replace(
        dataset, panel=replace(dataset.panel, mask=mask, values=np.where(mask, dataset.panel.values, np.nan))
    )
    forecast = backtest(spec, prepare(spec, holed), folder=tmp_path, say=QUIET).backtest.forecasts["naive"]
    assert forecast[0, :, 1, 0] == pytest.approx([np.nanmean(holed.panel.values[:280, 1])] * 6)


def test_a_series_of_a_billion_that_moves_by_ten_keeps_its_movement(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    """In single precision its neighbours are 64 apart, and every forecast is as wrong as any other."""
    dataset, spec = waves(missing=0), wave_spec(evaluation={"baselines": ["naive", "ridge"]})
    high = replace(dataset, panel=replace(dataset.panel, values=dataset.panel.values + 1e9))
    low, raised = (
        backtest(spec, prepare(spec, each), folder=tmp_path / name, say=QUIET)
        for name, each in (("low", dataset), ("high", high))
    )
    for model in ("gru", "naive", "ridge"):
        assert raised.backtest.total(model, "mae") == pytest.approx(low.backtest.total(model, "mae"), rel=1e-3)


def test_a_test_range_without_an_observation_is_told_before_training(
    waves: Callable[..., DataSet], wave_spec: Callable[..., Spec], tmp_path: Path
) -> None:
    dataset, spec = waves(), wave_spec()
    mask = dataset.panel.mask.copy()
    mask[320:] = False
    blind = replace(
        dataset, panel=replace(dataset.panel, mask=mask, values=np.where(mask, dataset.panel.values, np.nan))
    )
    with pytest.raises(TrainingError, match=r"the test range holds no observed target.*change task\.split"):
        backtest(spec, prepare(spec, blind), folder=tmp_path, say=QUIET)
    assert not list(tmp_path.iterdir())
