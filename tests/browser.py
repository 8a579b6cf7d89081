"""A page opened in headless Chromium without a network: what it drew, logged and asked for."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER and find_spec("selenium")),
    reason="needs selenium, and chromium and chromedriver on the PATH",
)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Every name fails to resolve, so a page that needs the network cannot look whole here.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,1000",
)

# circuitsvis writes its tokens onto a canvas, where no DOM query finds them.
RECORD_CANVAS = """
window.drawn = [];
const fillText = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  window.drawn.push(text);
  return fillText.call(this, text, ...rest);
};
"""

# A plot is drawn when plotly has put its surface in; a view when React has filled its mount point.
COUNTS = r"""
const count = (selector, drawn) => [...document.querySelectorAll(selector)].filter(drawn).length;
return {
  plots: count(".plotly-graph-div", node => node.querySelector(".main-svg")),
  views: count(".view", node => node.children.length),
  text: document.body.innerText,
  canvas: [...new Set(window.drawn)].join("\n"),
};
"""


@dataclass(frozen=True)
class Visit:
    """What a browser saw of a page."""

    plots: int
    """Plotly figures drawn."""
    views: int
    """Interactive views drawn."""
    text: str
    """Text of the page as a reader sees it."""
    canvas: str
    """Text written onto canvases."""
    errors: list[str]
    """Everything the page wrote to the console as an error or a warning."""
    requests: list[str]
    """Addresses the page asked for beyond itself and the data it carries."""


def visit(page: Path, *, screenshot: Path | None = None, height: int = 1000) -> Visit:
    """Opens the file `page` and reports; `screenshot` is a PNG of `height` pixels."""
    with _chromium() as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD_CANVAS})
        driver.get(page.resolve().as_uri())
        # Two frames on, whatever was scheduled while the page loaded has been painted.
        driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done));"
        )
        seen: dict[str, Any] = driver.execute_script(COUNTS)
        if screenshot is not None:
            driver.set_window_size(1400, height)
            driver.save_screenshot(str(screenshot))
        errors = [
            entry["message"]
            for entry in driver.get_log("browser")
            if entry["level"] in ("WARNING", "SEVERE")
        ]
        requests = list(_requests(driver.get_log("performance")))
    own = page.resolve().as_uri()
    foreign = [url for url in requests if url != own and not url.startswith(("data:", "blob:"))]
    return Visit(**seen, errors=errors, requests=foreign)


@contextmanager
def _chromium() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=Service(CHROMEDRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def _requests(log: list[dict[str, str]]) -> Iterator[str]:
    for entry in log:
        message = json.loads(entry["message"])["message"]
        if message["method"] != "Network.requestWillBeSent":
            continue
        # The browser's own start page is open until ours is.
        own = ("chrome://", "chrome-untrusted://")
        if not message["params"]["documentURL"].startswith(own):
            yield message["params"]["request"]["url"]
