"""The page in a real browser: no error on its console, and nothing that axe-core calls serious."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from envbuilder.compare.diff import compare
from envbuilder.compare.sides import Side
from envbuilder.html_report.content import Content
from envbuilder.html_report.render import render
from tests.html_report.conftest import HOSTILE, PASSED, report_of

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
    browser.execute_script("document.querySelectorAll('details').forEach(one => { one.open = true })")
    browser.execute_script(axe)
    found = browser.execute_async_script("const done = arguments[0]; axe.run(document).then(done);")
    return [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def console(browser: Chrome) -> list[str]:
    """What is on the console since it was last asked."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's own
    return [entry["message"] for entry in log]


def shown_parts(browser: Chrome) -> list[str]:
    """The pictures of single packages that can be seen."""
    parts = "return [...document.querySelectorAll('.part')].filter(one => one.checkVisibility()).map(one => one.id)"
    found: list[str] = browser.execute_script(parts)
    return found


@pytest.fixture(params=["failed", "passed, with changes"])
def page(request: pytest.FixtureRequest, content: Content, tmp_path: Path) -> Path:
    """A page of a verification that failed, and of one that passed with an archive to compare with."""
    if request.param != "failed":
        before = Side(kind="archive", name=HOSTILE, facts={}, demands={}, packages={})
        after = Side(kind="archive", name="after.tar.gz", facts={}, demands={"glibc": "2.40"}, packages={})
        content = dataclasses.replace(content, report=report_of(PASSED), difference=compare(before, after))
    path = tmp_path / "report.html"
    path.write_text(render(content))
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_sound(page: Path, browser: Chrome, axe: str, scheme: str) -> None:
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    browser.get(page.as_uri())
    assert console(browser) == []
    assert browser.execute_script("return document.scripts.length + document.images.length") == 0

    # Every fold is clicked open, and every link is followed.
    for summary in browser.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
        if summary.is_displayed():
            summary.click()
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a, figure a"):
        if link.is_displayed():
            browser.execute_script(
                "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", link
            )
    assert console(browser) == []
    assert serious(browser, axe) == []


@pytest.mark.parametrize("page", ["failed"], indirect=True)
def test_the_treemap_is_used_by_keyboard(page: Path, browser: Chrome) -> None:
    browser.get(page.as_uri())
    assert shown_parts(browser) == []
    for _ in range(100):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if browser.execute_script(
            "return document.activeElement.closest('figure') !== null && 'href' in document.activeElement"
        ):
            break
    target = browser.execute_script("return document.activeElement.getAttribute('href')")
    assert target == "#size-0-torch"
    ActionChains(browser).send_keys(Keys.ENTER).perform()
    assert shown_parts(browser) == ["size-0-torch"]


@pytest.mark.parametrize("page", ["failed"], indirect=True)
def test_a_print_shows_what_is_folded(page: Path, browser: Chrome) -> None:
    browser.get(page.as_uri())
    shown = "return document.querySelector('.checks li.passed .found').checkVisibility()"
    assert browser.execute_script(shown) is False
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert browser.execute_script(shown) is True
