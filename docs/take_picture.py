"""Photograph the top of a report for the README: python docs/take_picture.py report.html docs/report.png"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright


def take_picture(report: Path, picture: Path, *, width: int = 1280, height: int = 1180) -> None:
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        raise SystemExit("a picture needs a browser: neither chromium nor google-chrome is on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("#chart-forecast .main-svg")
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    take_picture(Path(sys.argv[1]), Path(sys.argv[2]))
