"""The page of a run on a dynamic graph in a real browser: a laptop and a phone, no network."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
Visit = Callable[..., tuple[Any, list[str]]]

pytestmark = pytest.mark.browser


def written(text: str, folder: Path) -> Path:
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_page_opens_without_a_fault_and_every_chart_is_drawn(
    visit: Visit, run: Any, viewport: dict[str, int], tmp_path: Path
) -> None:
    page, faults = visit(written(run.page, tmp_path), viewport)
    assert page.locator("#verdict").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    charts = page.locator(".chart").all()
    assert len(charts) >= 8
    for chart in charts:
        name, box = chart.get_attribute("id"), chart.locator(".main-svg").first.bounding_box()
        assert box["width"] > 0.8 * min(viewport["width"] - 40, 1032), name
        assert box["height"] > 90, name
        assert chart.locator(".trace").count() > 0, f"{name} draws nothing"
    assert faults == []
    page.close()


def test_a_click_on_a_title_sorts_the_table_and_another_turns_it_around(
    visit: Visit, links: Any, tmp_path: Path
) -> None:
    page, faults = visit(written(links.page, tmp_path), LAPTOP)
    table = page.locator("table.listing").nth(1)

    def column(place: int) -> list[str]:
        return table.locator(f"tbody td:nth-child({place})").all_inner_texts()

    before = column(4)
    table.locator("thead button").nth(3).click()
    assert [int(cell) for cell in column(4)] == sorted(map(int, before), reverse=True)
    table.locator("thead button").nth(3).click()
    assert [int(cell) for cell in column(4)] == sorted(map(int, before))
    table.locator("thead button").nth(0).click()
    names = [cell for cell in column(1) if cell.startswith("n")]
    assert [int(name[1:]) for name in names] == sorted(int(name[1:]) for name in names)  # n2 before n10
    assert table.locator("thead th").first.get_attribute("aria-sort") == "ascending"
    assert faults == []
    page.close()
