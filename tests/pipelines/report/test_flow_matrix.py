"""Forecast flows against real ones, on a backtest whose nodes are sources and whose variables are targets."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipelines.report.findings import of_flow_forecast
from pipelines.report.flow_matrix import (
    ABOVE,
    ARCS,
    BELOW,
    MOST_SIDE,
    NEAR,
    Pair,
    busiest,
    flow_error_map,
    flow_figures,
    means_figure,
    pair_means,
    pairs,
    pairs_figure,
)
from pipelines.results import Backtest

PLACES = {f"zone-{n}": (59.9 + 0.01 * n, 10.7 + 0.02 * (n % 3)) for n in range(12)}
NAMES = ["flow-means", "flow-difference", "flow-error-map", "flow-pairs"]


@pytest.fixture
def backtest(make_pairs: Callable[..., Backtest]) -> Backtest:
    return make_pairs()


def by_text(cells: dict[str, Any], values: str) -> dict[str, Any]:
    return {
        text: value
        for texts, row in zip(cells["text"], cells[values], strict=True)
        for text, value in zip(texts, row, strict=True)
    }


def test_the_mean_of_a_pair_counts_observed_values_only(backtest: Backtest) -> None:
    means = pair_means(backtest)
    for i in range(12):
        for j in range(12):
            seen = backtest.mask[:, :, i, j]
            if not seen.any():
                assert np.isnan([means.real[i, j], means.forecast[i, j]]).all()
                continue
            assert means.real[i, j] == pytest.approx(np.mean(backtest.truth[:, :, i, j][seen]))
            assert means.forecast[i, j] == pytest.approx(np.mean(backtest.forecasts["gru"][:, :, i, j][seen]))


def test_both_heat_maps_have_one_scale_and_the_same_cells(backtest: Backtest) -> None:
    means = pair_means(backtest)
    drawn = means_figure(busiest(means), {}, of=means)
    real, forecast = drawn.traces
    assert real["coloraxis"] == forecast["coloraxis"] == "coloraxis"
    largest = max(np.nanmax(means.real), np.nanmax(means.forecast))
    assert drawn.layout["coloraxis"]["cmax"] == pytest.approx(np.log1p(largest), rel=1e-4)
    assert real["text"] == forecast["text"]
    for cells, grid in ((real, means.real), (forecast, means.forecast)):
        shown = by_text(cells, "customdata")
        assert shown["zone-0 → zone-1"] == pytest.approx(grid[0, 1], rel=1e-4)
        assert shown["zone-3 → zone-0"] == pytest.approx(grid[3, 0], rel=1e-4)
        assert shown["zone-11 → zone-11"] is None


def test_the_difference_is_blue_where_the_forecast_is_too_high(backtest: Backtest) -> None:
    figures = {figure.name: figure for figure in flow_figures(backtest, PLACES, {})}
    cells = figures["flow-difference"].traces[0]
    off = by_text(cells, "z")
    assert off["zone-0 → zone-0"] > 0 > off["zone-0 → zone-1"]
    assert cells["colorscale"][-1] == [1, "--plus"]
    assert cells["zmin"] == -cells["zmax"]


def test_large_matrices_keep_the_busiest_zones_in_one_order(make_pairs: Callable[..., Backtest]) -> None:
    many = make_pairs(tuple(f"zone-{n:02d}" for n in range(40)), cutoffs=10)
    means = pair_means(many)
    shown = busiest(means)
    volume = np.nansum(means.real, axis=0) + np.nansum(means.real, axis=1)
    assert shown.sources == shown.targets == tuple(means.sources[i] for i in np.argsort(-volume)[:MOST_SIDE])
    assert shown.real[0, 1] == means.real[means.sources.index(shown.sources[0]), means.targets.index(shown.targets[1])]
    assert "the 20 busiest of 40 zones" in means_figure(shown, {}, of=means).caption


def test_sources_and_targets_may_be_different_zones(backtest: Backtest) -> None:
    part = replace(
        backtest,
        variables=backtest.variables[:5],
        truth=backtest.truth[..., :5],
        mask=backtest.mask[..., :5],
        forecasts={model: forecast[..., :5] for model, forecast in backtest.forecasts.items()},
    )
    assert [figure.name for figure in flow_figures(part, PLACES, {})] == NAMES
    assert np.shape(flow_figures(part, PLACES, {})[0].traces[0]["z"]) == (12, 5)


@pytest.mark.parametrize(
    ("real", "forecast", "judgement"),
    [(10, 10.9, NEAR), (10, 11.1, ABOVE), (10, 8.9, BELOW), (10, 9.1, NEAR), (0, 1, ABOVE), (3, 0, BELOW)],
)
def test_a_forecast_is_judged_by_a_tenth_of_the_real_flow(real: float, forecast: float, judgement: str) -> None:
    assert Pair("a", "b", real, forecast).judgement == judgement


def test_the_largest_pairs_are_those_with_the_larger_flow_real_or_forecast(backtest: Backtest) -> None:
    """A flow that is forecast where there is none is as large an error as one that is missed."""
    means = pair_means(backtest)
    real, forecast = means.real.copy(), means.forecast.copy()
    real[5, 6], forecast[5, 6], real[6, 5], forecast[6, 5] = 0, 99, 98, 0
    found = pairs(replace(means, real=real, forecast=forecast))
    assert [(pair.source, pair.target) for pair in found[:2]] == [("zone-5", "zone-6"), ("zone-6", "zone-5")]
    assert len(found) == 143, "all but the pair that was never observed"


def test_arcs_are_wide_by_the_larger_flow_and_coloured_by_the_judgement(backtest: Backtest) -> None:
    found = [pair for pair in pairs(pair_means(backtest)) if pair.source != pair.target][:10]
    drawn = flow_error_map(found, PLACES, {"zone-0": "Harbour"})
    arcs = [trace for trace in drawn.traces if trace["mode"] == "lines+markers"][::-1]
    widths = [arc["line"]["width"] for arc in arcs]
    assert widths == sorted(widths, reverse=True)
    for arc, pair in zip(arcs, found, strict=True):
        assert (arc["line"]["color"], arc["line"]["dash"]) == ARCS[pair.judgement]
        ends = PLACES[pair.source], PLACES[pair.target]
        assert [(arc["y"][i], arc["x"][i]) for i in (0, -1)] == pytest.approx(np.array(ends), abs=1e-6)
    assert arcs[0]["text"].startswith("zone-1 → Harbour: real ")
    legend = [trace["name"] for trace in drawn.traces if trace.get("showlegend", True)]
    assert legend == [name for name in ARCS if name in {pair.judgement for pair in found}]


def test_without_coordinates_there_is_no_map(backtest: Backtest) -> None:
    assert [figure.name for figure in flow_figures(backtest, {}, {})] == [n for n in NAMES if n != "flow-error-map"]


def test_the_scatter_leaves_out_what_a_logarithm_has_no_place_for_and_says_so() -> None:
    found = [Pair("a", "b", 4.0, 5.0), Pair("b", "a", 2.0, 0.0), Pair("c", "a", 0.0, 1.0), Pair("a", "c", 0.5, 0.4)]
    drawn = pairs_figure(found, {}, "GRU")
    assert drawn is not None
    assert (drawn.traces[0]["x"], drawn.traces[0]["y"]) == ([4.0, 0.5], [5.0, 0.4])
    assert "Not shown: 2 " in drawn.caption
    low, high = drawn.layout["xaxis"]["range"]
    assert low < np.log10(0.4)
    assert high > np.log10(5)
    assert pairs_figure(found[1:3], {}, "GRU") is None


def test_a_backtest_without_an_observed_flow_has_no_figures(backtest: Backtest) -> None:
    unseen = replace(backtest, mask=np.zeros_like(backtest.mask))
    assert flow_figures(unseen, PLACES, {}) == []
    assert "No flow was observed" in of_flow_forecast(unseen, {})


def test_flows_of_nothing_are_a_matrix_without_colour(backtest: Backtest) -> None:
    nothing = replace(backtest, truth=np.zeros_like(backtest.truth), forecasts={"gru": np.zeros(backtest.truth.shape)})
    assert [figure.name for figure in flow_figures(nothing, PLACES, {})] == ["flow-means", "flow-difference"]


def test_a_zone_whose_name_is_a_script_stays_a_name(backtest: Backtest) -> None:
    labels = dict.fromkeys(backtest.nodes, "<script>alert(1)</script>")
    drawn = repr(flow_figures(backtest, PLACES, labels))
    assert "<script" not in drawn
    assert "&lt;script" in drawn


def test_the_sentence_names_the_total_and_the_pair_that_is_furthest_off(backtest: Backtest) -> None:
    means = pair_means(backtest)
    real, forecast = np.nansum(means.real), np.nansum(means.forecast)
    said = of_flow_forecast(backtest, {"zone-0": "Harbour"})
    assert f"{forecast:.0f} in a step on average were forecast and {real:.0f} were real, +" in said
    i, j = np.unravel_index(np.nanargmax(np.abs(means.forecast - means.real)), means.real.shape)
    assert (i, j) == (0, 0)
    assert f"Harbour → Harbour: real {means.real[0, 0]:.1f}, forecast {means.forecast[0, 0]:.1f}." in said
