"""The page of a run on a dynamic graph in a real browser: a laptop and a phone, no network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is on the path"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()


def visit(browser: Any, text: str, folder: Path, viewport: dict[str, int]) -> tuple[Any, list[str]]:
    """The opened page, and whatever it should not have done: complain, fail, or ask the network."""
    file = folder / "report.html"
    file.write_text(text, encoding="utf-8")
    page = browser.new_page(viewport=viewport)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(("file://", "data:")) else faults.append(asked.url))
    page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    page.goto(file.as_uri())
    page.wait_for_selector("#chart-training .main-svg")
    return page, faults


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_page_opens_without_a_fault_and_every_chart_is_drawn(
    browser: Any, run: Any, viewport: dict[str, int], tmp_path: Path
) -> None:
    page, faults = visit(browser, run.page, tmp_path, viewport)
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
    browser: Any, links: Any, tmp_path: Path
) -> None:
    page, faults = visit(browser, links.page, tmp_path, LAPTOP)
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
