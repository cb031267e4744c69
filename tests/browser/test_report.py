"""The report as a reader sees it: from a file, at desk and on a phone, light and dark, without any network."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.remote.webdriver import WebDriver

from lstcl_platform.results.report.page import write_report
from lstcl_platform.results.report.study import read_study
from tests.helpers.browser import open_browser
from tests.helpers.paper_study import fields_of, open_tracker, record

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SIZES = {"desk": (1280, 900), "phone": (390, 844)}
LOOK = """
const box = e => e.getBoundingClientRect();
return {
  wider: document.documentElement.scrollWidth - window.innerWidth,
  figures: [...document.querySelectorAll('figure svg')].map(
    e => [box(e).width, box(e).height, e.getAttribute('aria-label')]),
  tables: [...document.querySelectorAll('table')].map(e => [e.caption.textContent, e.rows.length]),
  outside: [...document.querySelectorAll('.scroll, figure, .facts, p, li')].filter(
    e => box(e).right > innerWidth + 1).length,
  ids: [...document.querySelectorAll('[id]')].map(e => e.id),
  back: getComputedStyle(document.body).backgroundColor,
  font: parseFloat(getComputedStyle(document.querySelector('td')).fontSize),
};
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    tracker = open_tracker(folder)
    record(tracker, fields_of("table2", seeds=(0, 1)), folder=folder)
    write_report(tracker, [read_study(tracker, "table2_sampling")], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        driver.execute_cdp_cmd(
            "Network.emulateNetworkConditions",
            {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )
        yield driver


def look(browser: WebDriver, page: Path, *, size: str, scheme: str = "light") -> dict:
    width, height = SIZES[size]
    device = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get(page.as_uri())
    return browser.execute_script(LOOK)


@pytest.mark.parametrize("size", list(SIZES))
def test_figures_and_tables_fit_the_screen(browser, page, size):
    seen = look(browser, page, size=size)
    assert seen["wider"] <= 0, "the page scrolls sideways"
    assert seen["outside"] == 0
    assert len(seen["figures"]) >= 9
    assert all(width > 250 and height > 100 and label for width, height, label in seen["figures"])
    captions = " ".join(caption for caption, _ in seen["tables"])
    for words in (
        "Table 2",
        "Pairs of cells",
        "Accuracy of each class",
        "Confusion",
        "Stages",
        "Bad videos",
        "Seeds",
    ):
        assert words in captions
    assert all(rows > 1 for _, rows in seen["tables"])
    assert len(seen["ids"]) == len(set(seen["ids"]))
    assert seen["font"] >= 13


def test_it_follows_the_dark_of_the_system(browser, page):
    light, dark = (look(browser, page, size="desk", scheme=scheme)["back"] for scheme in ("light", "dark"))
    assert light == "rgb(254, 254, 254)"
    assert dark == "rgb(15, 20, 25)"


def test_nothing_is_asked_of_the_network_and_the_console_is_empty(browser, page):
    browser.get_log("performance")
    look(browser, page, size="desk")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked, "requests are not seen"
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
