"""A real browser, headless and without a network of its own."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

COMMANDS = ("chromium", "chromedriver")
PACKAGES = "apt-get install --no-install-recommends chromium chromium-driver"

SWITCHES = (
    *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
    *("disable-background-networking", "disable-component-update", "disable-sync"),
    # No name leads anywhere, should something be asked for all the same.
    "host-resolver-rules=MAP * ~NOTFOUND",
    # A container's /dev/shm may be small.
    "disable-dev-shm-usage",
)

PATIENCE_S = 30
"""A shared machine is slow at times, which is no property of the page."""


class Browser:
    """A browser with one page open."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Open a page in a window of this size in CSS pixels, and wait until it answers."""
        for kind in ("browser", "performance"):
            self._log(kind)
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.driver.get(page.as_uri())
        self.wait("return 'ready' in document.documentElement.dataset")

    def open_whole(self, page: Path, width: int = 1280) -> None:
        """Open a page and bring everything into view once, the charts too."""
        self.open(page, width)
        if self.script("return document.querySelector('.charts') !== null"):
            self.script("document.querySelector('.charts').scrollIntoView()")
            self.wait("return 'charts' in document.documentElement.dataset")
        self.script("for (const d of document.querySelectorAll('details')) d.open = true")
        self.script("for (const i of document.images) i.loading = 'eager'")
        self.wait("return [...document.images].every((i) => i.complete && i.naturalWidth > 0)")

    def script(self, text: str, *args: Any) -> Any:
        return self.driver.execute_script(text, *args)

    def wait(self, text: str) -> Any:
        """Wait until JavaScript returns something true, and return that."""
        return WebDriverWait(self.driver, PATIENCE_S).until(lambda _: self.script(text), text)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def errors(self) -> list[str]:
        """Return what was said to the console since the page was opened, warnings apart."""
        return [e["message"] for e in self._log("browser") if e["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """Return the address of everything that the page asked for, what stands in it apart."""
        messages = [json.loads(e["message"])["message"] for e in self._log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in sent]
        # chrome: is the browser's own first tab.
        return [url for url in urls if not url.startswith(("data:", "chrome:"))]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        """Return what was logged since this was last asked."""
        logged: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return logged


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        # In CI a test that did not run must not look like one that passed.
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"no {' and no '.join(missing)} here: {PACKAGES}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for switch in (*SWITCHES, f"user-data-dir={profile}"):
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
