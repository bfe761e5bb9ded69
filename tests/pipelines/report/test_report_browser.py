"""The report as a reader meets it: a real browser, a laptop and a phone, light and dark, no network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.report import write_report
from pipelines.report.flow_matrix import flow_figures
from pipelines.report.maps import coordinates
from pipelines.report.weights import weight_figure
from pipelines.report.words import node_labels
from pipelines.results import Backtest

LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
Visit = Callable[..., tuple[Any, list[str]]]

pytestmark = pytest.mark.browser


@pytest.fixture(params=["city", "hostile", "long_names", "graph_run", "large_graph_run", "private_run", "raw_run"])
def report(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_report(**request.getfixturevalue(request.param), path=tmp_path / "report.html")


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_page_opens_without_a_fault_and_every_chart_is_drawn(
    visit: Visit, report: Path, viewport: dict[str, int]
) -> None:
    page, faults = visit(report, viewport)
    assert page.locator("#verdict").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    for chart in page.locator(".chart").all():
        name, box = chart.get_attribute("id"), chart.locator(".main-svg").first.bounding_box()
        assert box["width"] > 0.8 * min(viewport["width"] - 40, 1032), name
        assert box["height"] > 90, name
        assert chart.locator(".trace, .hm").count() > 0, f"{name} draws nothing"
    assert faults == []
    page.close()


DRAW = """figures => {
  for (const { name, height, traces, layout, narrow: changes } of figures) {
    const chart = document.createElement("div");
    chart.className = "chart extra";
    chart.id = `chart-${name}`;
    document.querySelector("main").append(chart);
    const whole = { height, ...layout };
    draw(chart, traces, narrow.matches ? merged(whole, changes) : whole);
  }
}"""


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_charts_of_flow_forecasts_and_weights_are_drawn_by_the_page(
    visit: Visit, city: dict[str, Any], make_pairs: Callable[..., Backtest], viewport: dict[str, int], tmp_path: Path
) -> None:
    """They have no place in the page yet, so the test gives them one."""
    panel = city["dataset"].panel
    figures = flow_figures(make_pairs(panel.nodes), coordinates(panel), node_labels(panel.static))
    figures.append(weight_figure(np.array([[4.0, 3.5, 3.2], [2.0, 2.1, 2.2]]), ("layer 1", "layer 2")))
    page, faults = visit(write_report(**city, path=tmp_path / "report.html"), viewport)
    page.evaluate(DRAW, [vars(figure) for figure in figures])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    charts = page.locator(".extra").all()
    assert len(charts) == 5
    for chart, figure in zip(charts, figures, strict=True):
        height = figure.height if viewport is LAPTOP else figure.narrow.get("height", figure.height)
        assert chart.locator(".main-svg").first.bounding_box()["height"] == height
        assert chart.locator(".trace, .hm").count() >= len(figure.traces) - 3, f"{figure.name}, but for its legend"
    assert faults == []
    page.close()


def test_a_chart_of_several_panels_looks_like_one_chart(visit: Visit, city: dict[str, Any], tmp_path: Path) -> None:
    """No grid of Plotly's own colour, and none that a finger can drag."""
    page, _ = visit(write_report(**city, path=tmp_path / "report.html"), LAPTOP)
    layout = "document.getElementById('chart-network-drift')._fullLayout"
    for letter in "xy":
        for part in ("fixedrange", "automargin", "gridcolor"):
            first, second = (page.evaluate(f"{layout}.{letter}axis{n}.{part}") for n in ("", "2"))
            assert first == second, f"{letter} axis: {part}"
    page.close()


def test_another_node_variable_or_lead_time_draws_another_series(
    visit: Visit, city: dict[str, Any], tmp_path: Path
) -> None:
    page, faults = visit(write_report(**city, path=tmp_path / "report.html"), LAPTOP)
    paths = "document.querySelectorAll('#chart-forecast .scatterlayer path.js-line')"
    lines = f"[...{paths}].map(path => path.getAttribute('d')).join()"
    seen = [page.evaluate(lines)]
    for control in ("node", "variable", "lead"):
        page.select_option(f"#{control}", "1")
        seen.append(page.evaluate(lines))
    assert len(set(seen)) == 4
    assert faults == []
    page.close()


def test_the_legend_brings_the_best_yardstick_into_the_chart(
    visit: Visit, city: dict[str, Any], tmp_path: Path
) -> None:
    page, _ = visit(write_report(**city, path=tmp_path / "report.html"), LAPTOP)
    dotted = "document.getElementById('chart-forecast')._fullData.find(trace => trace.name === 'STID').visible === true"
    assert not page.evaluate(dotted)
    page.locator("#chart-forecast .legendtoggle").nth(3).click()
    page.wait_for_function(dotted, timeout=5000)
    page.select_option("#node", "2")
    assert page.evaluate(dotted), "it stays when the node changes"
    page.close()


def test_the_charts_follow_when_the_reader_turns_the_light_off(
    visit: Visit, city: dict[str, Any], tmp_path: Path
) -> None:
    page, faults = visit(write_report(**city, path=tmp_path / "report.html"), LAPTOP, color_scheme="light")
    bar = "getComputedStyle(document.querySelector('#chart-nodes .bars path')).fill"
    light = page.evaluate(bar)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"{bar} !== '{light}'", timeout=5000)
    assert faults == []
    page.close()
