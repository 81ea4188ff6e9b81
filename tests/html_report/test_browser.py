"""The page in a real browser: no error on its console, and nothing that axe-core calls serious."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from envbuilder.html_report.content import Content
from envbuilder.html_report.render import render

AXE = "axe-core@4.10.3"
pytestmark = [pytest.mark.network, pytest.mark.slow]


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", AXE],
        cwd=folder,
        env={**os.environ, "npm_config_cache": str(folder / "cache")},
        check=True,
        capture_output=True,
    )
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def serious(browser: Chrome, axe: str) -> list[tuple[str, list[Any]]]:
    """What axe-core finds. It is put in by the debugger: the page's own policy allows no script."""
    browser.execute_cdp_cmd("Page.setBypassCSP", {"enabled": True})
    browser.refresh()
    browser.execute_script(axe)
    found = browser.execute_async_script("const done = arguments[0]; axe.run(document).then(done);")
    return [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_sound(content: Content, tmp_path: Path, browser: Chrome, axe: str, scheme: str) -> None:
    page = tmp_path / "report.html"
    page.write_text(render(content))
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's own
    assert [entry["message"] for entry in log] == []
    with_dialog = browser.execute_script("return document.scripts.length + document.images.length")
    assert with_dialog == 0

    # A package in the treemap leads to its own picture.
    parts = "return [...document.querySelectorAll('.part')].filter(one => one.checkVisibility()).map(one => one.id)"
    assert browser.execute_script(parts) == []
    browser.get(page.as_uri() + "#size-0-torch")
    assert browser.execute_script(parts) == ["size-0-torch"]

    assert serious(browser, axe) == []
