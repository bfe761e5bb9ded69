"""The section on privacy: what a reader sees of a promise, of its limits, and of what it costs."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.dataset import Release
from pipelines.privacy.claim import Protection
from pipelines.privacy.tags import INTERNAL_TAGS
from pipelines.privacy.utility import (
    Point,
    judged_on,
    noise_in_truth,
    points,
    utility_tags,
    variance_of,
    without_noise,
)
from pipelines.report import write_report
from pipelines.report.privacy import of_errors, of_noise
from pipelines.report.privacy_figures import errors_figure, loudness_figure, trade_figure, typical_values
from pipelines.report.words import node_labels, number

Run = dict[str, Any]


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.text, self.data, self._inside = "", "", ""
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        found = dict(attributes)
        self._inside = "data" if found.get("id") == "report-data" else tag
        self.ids.append(str(found.get("id", "")))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside not in ("script", "style"):
            self.text += data


def read(run: Run, folder: Path) -> Page:
    return Page(write_report(**run, path=folder / "report.html").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- the page


def test_a_model_of_a_release_has_its_promise_its_limits_its_charts_and_its_ledger_entry(
    private_run: Run, released: Protection, tmp_path: Path
) -> None:
    page = read(private_run, tmp_path)
    for told in (
        f"{released.claim.sentence}.",
        "integer Gaussian noise of standard deviation 29.3",
        "All errors on this page are judged by released counts.",
        "The truth is that of the released counts, with their noise.",
        "One person's data of 7 days",
        "a person is in one zone at a time",
        f"entry 7, run release-1, hash {'ab' * 32}",
        "flockcast budget explain made-up-town",
    ):
        assert told in page.text, told
    assert {"chart-loudness", "chart-private-errors", "chart-trade"} <= set(page.ids)
    assert "stays in the house" not in page.text


def test_a_page_with_raw_counts_says_so_before_anything_is_drawn(
    raw_run: Run, dp_sgd: Protection, tmp_path: Path
) -> None:
    page = read(raw_run, tmp_path)
    warning = page.text.index("This page draws today's raw counts")
    assert warning < page.text.index("Forecast against truth")
    assert f"{dp_sgd.claim.sentence}." in page.text
    assert "judged by raw counts" in page.text
    assert "The truth is that of the raw counts." in page.text
    assert "judged by released counts" not in page.text
    assert "chart-loudness" not in page.ids, "raw counts have no noise"


def test_of_a_model_without_a_promise_one_line_says_so(city: Run, tmp_path: Path) -> None:
    page = read(city, tmp_path)
    assert "No privacy promise is made of this model." in page.text
    assert "privacy" in page.ids
    assert "epsilon" not in page.text + page.data


FULL = [  # every form that an epsilon is shown in: unit before it, delta and accountant after it
    r"Protects [^.]+: epsilon = [\d.]+, delta = \S+ \([\w ]+; [\w. -]+; [^)]+\)",
    r"One person's data of \d+ [\w ]+: epsilon = [\d.]+, delta = \S+ \([\w ]+; [\w. -]+; [^)]+\)",
    r"epsilon of one \w+[^(]*\(delta = \S+; [\w ]+; [\w. -]+\)",
    r"ε = [\d.]+\s*protects [^,]+, δ = \S+; [\w. -]+",
]


@pytest.mark.parametrize("which", ["private_run", "raw_run"])
def test_no_epsilon_stands_alone_anywhere_on_the_page(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    page = read(request.getfixturevalue(which), tmp_path)
    text = page.text + " ".join(strings(json.loads(page.data)))
    assert re.search("epsilon|ε", text)
    for full in FULL:
        text = re.sub(full, "", text)
    alone = re.search(".{0,60}(epsilon|ε|Epsilon).{0,60}", text)
    assert alone is None, alone


def strings(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [text for part in content.values() for text in strings(part)]
    if isinstance(content, list):
        return [text for part in content for text in strings(part)]
    return [content] if isinstance(content, str) else []


# ---------------------------------------------------------------- figures


def test_the_noise_s_share_of_an_error_is_what_a_forecast_of_the_exact_truth_would_make(city: Run) -> None:
    """A second way: judge the exact counts by noised ones."""
    backtest = city["backtest"]
    std = {"inflow": 3.0, "outflow": 5.0}
    chance = np.random.default_rng(3)
    scale = np.array([std[name] for name in backtest.variables])
    noise = chance.normal(size=backtest.truth.shape) * scale
    release = Release("{}", {name: value**2 for name, value in std.items()}, {}, [])
    expected = np.sqrt(np.mean(noise[backtest.mask] ** 2))
    assert math.sqrt(noise_in_truth(release, backtest)) == pytest.approx(expected, rel=0.03)  # 8,000 draws: 0.8 %
    wrong = backtest.forecasts["gru"] - backtest.truth
    against_release = np.sqrt(np.mean((wrong - noise)[backtest.mask] ** 2))
    true = np.sqrt(np.mean(wrong[backtest.mask] ** 2))
    assert without_noise(against_release, noise_in_truth(release, backtest)) == pytest.approx(true, rel=0.03)
    assert against_release > 1.1 * true, "the noise is loud enough for the test to see it"


def test_raw_truth_has_no_noise_and_an_error_below_the_noise_is_not_imaginary(city: Run) -> None:
    assert noise_in_truth(None, city["backtest"]) == 0
    assert without_noise(2.0, 9.0) == 0


def test_of_flows_the_noise_is_that_of_a_pair(make_pairs: Callable[..., Any]) -> None:
    pairs = replace(make_pairs(), are_flows=True)
    release = Release("{}", {"flow": 4.0, "inflow": 48.0, "outflow": 48.0}, {}, [])
    assert variance_of(release, pairs).tolist() == [4.0] * 12


def test_a_row_of_the_chart_holds_noise_and_the_median_of_what_was_released(city: Run) -> None:
    backtest = city["backtest"]
    labels = node_labels(city["dataset"].panel.static)
    figure = loudness_figure(backtest, np.array([2.25, 9.0]), labels, {name: name for name in backtest.variables})
    _, noise, typical = figure.traces
    top = noise["text"][-1]
    assert top in ("Harbour, inflow", "Harbour, outflow"), "the busiest is on top"
    f = backtest.variables.index(top.split(", ")[1])
    seen = backtest.mask[:, :, 0, f]
    assert typical["x"][-1] == pytest.approx(np.median(np.abs(backtest.truth[:, :, 0, f][seen])), rel=1e-4)
    assert noise["x"][-1] == [1.5, 3.0][f]


def test_signed_released_values_are_typical_by_their_size(city: Run) -> None:
    backtest = city["backtest"]
    negative = replace(backtest, truth=-backtest.truth)
    assert np.array_equal(typical_values(negative), typical_values(backtest), equal_nan=True)


def test_the_line_of_noise_alone_is_at_its_standard_deviation_and_absent_for_raw_counts(city: Run) -> None:
    drawn = errors_figure(city["backtest"], 6.25)
    assert drawn.layout["shapes"][0]["x0"] == drawn.layout["shapes"][0]["x1"] == 2.5
    assert drawn.traces[0]["x"] == sorted(drawn.traces[0]["x"], reverse=True), "the smallest error is on top"
    assert "shapes" not in errors_figure(city["backtest"], 0.0).layout


def test_versions_are_drawn_at_their_epsilon_with_the_noise_of_their_truth_taken_out(released: Protection) -> None:
    found = [Point("1", "gru", 0.5, 5.0, 9.0, False), Point("2", "gru", 1.0, 4.5, 2.25, True)]
    figure = trade_figure([*found, Point("3", "gru", None, 3.9, 0.0, False)], released.claim)
    assert figure is not None
    judged, cleaned = figure.traces
    assert (judged["x"], judged["y"]) == ([0.5, 1.0], [5.0, 4.5])
    assert cleaned["y"] == pytest.approx([4.0, math.sqrt(18)], rel=1e-4)
    assert figure.layout["shapes"][0]["y0"] == 3.9
    assert trade_figure(found[:1], released.claim) is None, "nothing to compare"
    assert trade_figure([found[0], replace(found[0], version="4")], released.claim) is None


def test_only_versions_that_promise_the_same_kind_of_thing_on_the_same_test_are_compared(
    city: Run, released: Protection, dp_sgd: Protection
) -> None:
    backtest = city["backtest"]
    release = Release(released.to_json(), dict.fromkeys(backtest.variables, 4.0), {}, [])
    half = replace(released, claim=replace(released.claim, epsilon=0.5))
    looser = replace(released, claim=replace(released.claim, delta=1e-3))
    other = replace(released, claim=replace(released.claim, unit="user_week"))
    common = {"flockcast.model": "gru"}
    shorter = replace(backtest, cutoffs=backtest.cutoffs[:-1])
    versions = [
        ("1", {**common, **utility_tags(None, backtest)}),
        ("2", {**common, **utility_tags(release, backtest), **released.tags}),
        ("3", {**common, **utility_tags(release, backtest), **half.tags}),
        ("4", {**common, **utility_tags(release, backtest), **looser.tags}),
        ("5", {**common, **utility_tags(release, backtest), **other.tags}),
        ("6", {**common, **utility_tags(release, shorter), **released.tags}),
        ("7", {**common, **utility_tags(None, backtest), **dp_sgd.tags}),
        ("8", common),
        ("9", {**common, **utility_tags(None, backtest), **INTERNAL_TAGS}),
    ]
    found = points(versions, released.claim, test=judged_on(backtest), ours="2")
    assert [(point.version, point.epsilon, point.noise) for point in found] == [
        ("3", 0.5, 4.0),
        ("2", 0.9987, 4.0),
        ("1", None, 0.0),
    ]
    assert [point.version for point in found if point.is_ours] == ["2"]


# ---------------------------------------------------------------- sentences


def test_noise_that_drowns_a_series_is_told(city: Run) -> None:
    backtest = city["backtest"]
    assert "It drowns none." in of_noise(backtest, np.array([0.01, 0.01]))
    typical = typical_values(backtest)
    loud = float(np.median(typical)) ** 2
    drowned = int(np.sum(typical <= math.sqrt(loud)))
    assert f"In {drowned} of 24 series it is as large" in of_noise(backtest, np.array([loud, loud]))
    silent = replace(backtest, truth=np.zeros_like(backtest.truth))
    assert "nothing stands out of it" in of_noise(silent, np.array([1.0, 1.0]))


def test_the_error_sentence_says_which_counts_it_was_judged_by(city: Run) -> None:
    backtest = city["backtest"]
    rmse = backtest.total("gru", "rmse")
    assert of_errors(backtest, 0.0).endswith("judged by raw counts.")
    told = of_errors(backtest, 4.0)
    assert f"{number(rmse)}, the noise in these makes 2.00 by itself" in told
    assert number(math.sqrt(rmse**2 - 4)) in told
