"""The gate alone, without a registry: who is compared with whom, on what."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from data.dataset import DataSet
from data.windows import Series
from pipelines.artefact import Artefact, describe_artefact
from pipelines.evaluate import Evaluated, backtest
from pipelines.gate import champion_score, judge
from pipelines.metrics import measure
from pipelines.prepare import Prepared, prepare
from pipelines.spec import Registry, Spec

QUIET: Callable[[str], None] = lambda line: None  # noqa: E731
ALL = np.ones(75, dtype=bool)


@pytest.fixture(scope="module")
def spec(wave_spec: Callable[..., Spec]) -> Spec:
    return wave_spec(evaluation={"baselines": ["naive"]}, training={"epochs": 2})


@pytest.fixture(scope="module")
def world(
    spec: Spec, waves: Callable[..., DataSet], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Prepared, Evaluated]:
    prepared = prepare(spec, waves())
    return prepared, backtest(spec, prepared, folder=tmp_path_factory.mktemp("runs"), say=QUIET)


@pytest.fixture(scope="module")
def present(spec: Spec, world: tuple[Prepared, Evaluated]) -> Artefact:
    prepared, evaluated = world
    return Artefact(describe_artefact(spec, prepared, evaluated), evaluated.fitted.network, evaluated.calibration)


def trained_until(present: Artefact, moment: str) -> Artefact:
    return replace(present, config=replace(present.config, trained_until=moment))


def test_a_champion_is_as_good_as_itself(world, present):
    prepared, evaluated = world
    verdict = judge(Registry(), prepared, evaluated.backtest, present, "1")
    assert not verdict.is_champion
    assert "on the same backtest, no better" in verdict.reason


def test_a_champion_is_not_judged_on_what_it_was_trained_on(world, present):
    """The steps that it has seen are where the candidate is perfect, so that they would decide if they counted."""
    prepared, evaluated = world
    result = evaluated.backtest
    later = trained_until(present, result.cutoffs[60].isoformat())
    good = {"gru": np.where(np.arange(75)[:, None, None, None] < 60, result.truth, result.forecasts["gru"])}
    verdict = judge(Registry(), prepared, replace(result, forecasts=good), later, "1")
    assert not verdict.is_champion
    assert "on the 15 of 75 cutoffs that lie after its training, no better" in verdict.reason


def test_a_champion_that_has_seen_the_whole_test_range_is_not_compared(world, present):
    prepared, evaluated = world
    verdict = judge(
        Registry(), prepared, evaluated.backtest, trained_until(present, prepared.panel.index[-1].isoformat()), "1"
    )
    assert not verdict.is_champion
    assert "it has seen the test range" in verdict.reason


def test_the_order_of_the_busiest_nodes_may_change(world, present):
    prepared, evaluated = world
    panel = prepared.panel.choose(list(prepared.panel.nodes[::-1]), ["y"])
    turned = replace(prepared, panel=panel, series=Series.of(panel, prepared.series.calendar.numpy()))
    expected = champion_score(prepared, evaluated.backtest, ALL, present, "mase")
    assert champion_score(turned, evaluated.backtest, ALL, present, "mase") == pytest.approx(expected)
    assert "differ" not in judge(Registry(), turned, evaluated.backtest, present, "1").reason


def test_a_champion_forecasts_with_the_holidays_it_knows(world, present):
    prepared, evaluated = world
    holidays = prepared.series.calendar.numpy().copy()
    holidays[:, 2] = 1
    festive = replace(prepared, series=Series.of(prepared.panel, holidays), country="FR")
    scores = [champion_score(task, evaluated.backtest, ALL, present, "mae") for task in (prepared, festive)]
    assert scores[0] == scores[1]


def test_the_champion_is_scored_as_the_backtest_scored_it(world, present):
    prepared, evaluated = world
    result = evaluated.backtest
    for metric in ("mae", "rmse", "mase"):
        assert champion_score(prepared, result, ALL, present, metric) == pytest.approx(result.total("gru", metric))
    unit = np.ones((3, 1))
    half = np.arange(75) >= 40
    expected = measure(result.forecasts["gru"][half], result.truth[half], result.mask[half], unit, unit)["mae"]
    assert champion_score(prepared, result, half, present, "mae") == pytest.approx(expected)


def test_a_score_that_is_no_number_crowns_nobody(world, present):
    prepared, evaluated = world
    result = evaluated.backtest
    unknown = replace(result, forecasts={"gru": np.full_like(result.truth, np.nan)})
    verdict = judge(Registry(min_improvement=0.0), prepared, unknown, present, "1")
    assert not verdict.is_champion
    assert "which says nothing" in verdict.reason


def test_another_time_zone_is_another_task(world, present):
    prepared, evaluated = world
    elsewhere = replace(present, config=replace(present.config, timezone="UTC"))
    assert "the time zone differs" in judge(Registry(), prepared, evaluated.backtest, elsewhere, "1").reason
