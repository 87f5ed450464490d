"""A real browser without a window, and a small finished grid with its report for it to look at."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[dev]'")

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]
NAME = "browser"
# No look-up of updates, no profile left behind; a container's root needs --no-sandbox.
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1500,1000",
)  # fmt: skip
PATIENCE = 60  # seconds for something to appear; on an idle machine it takes one or two


@dataclass(frozen=True)
class Page:
    """A browser with what the tests ask of it."""

    driver: webdriver.Chrome

    def open(self, address: str) -> None:
        """Go to an address."""
        self.driver.get(address)

    def wait(self, until: Callable[[], Any], what: str) -> Any:
        """Wait until ``until`` gives something."""
        return WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[Exception]).until(
            lambda _: until(), what
        )

    def shown(self, xpath: str) -> list[WebElement]:
        """The visible elements of an XPath."""
        return [element for element in self.driver.find_elements(By.XPATH, xpath) if element.is_displayed()]

    def text(self, text: str) -> WebElement:
        """The first visible element with exactly this text, once it is there."""
        found: WebElement = self.wait(
            lambda: self.shown(f'//*[normalize-space(text())="{text}"]'), f"{text!r} to appear"
        )[0]
        return found

    def click(self, text: str) -> None:
        """Click on a text."""
        self.wait(lambda: self.text(text).click() or True, f"{text!r} to take a click")

    def errors(self) -> list[str]:
        """Messages of the console that are errors."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A fresh browser."""
    driver = shutil.which("chromedriver")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if driver is None or browser is None:
        pytest.skip("no Chromium with chromedriver here: on Debian, apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Page(chrome)
    finally:
        chrome.quit()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a grid of three tiny cells has run, with its report: results/browser/."""
    folder = tmp_path_factory.mktemp("browser")
    config = {
        "name": NAME,
        "datasets": {"mnist": {"source": "bundled-mnist", "images": 4}},
        "scenarios": {"default": {"victims": 2, "max_iterations": 20, "history_points": 5}},
        "grids": [
            {
                "datasets": ["mnist"],
                "models": ["mlp"],
                "dropout_rates": ["0.5"],
                "attacks": ["ig", "wiig", "dia"],
            }
            | {"seeds": [0]}
        ],
        "execution": {"device": "cpu"},
        "tables": ["dropout", "ig"],
        "figures": ["reconstructions", "rates"],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--directory",
        str(folder),
    ]
    for more in ([], ["--report", f"results/{NAME}/report.html"]):
        done = subprocess.run(
            [*command, *more, "--configfile", str(folder / "config.yaml")], cwd=ROOT, env=_environment(),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def ui(finished: Path) -> Iterator[str]:
    """Run `make ui`; gives the address that it prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The same rule as a user's, in another folder and with this environment's programs.
    command = [
        "make",
        "-f",
        str(ROOT / "Makefile"),
        "-o",
        ".venv/user.stamp",
        "ui",
        f"NAME={NAME}",
        f"PORT={port}",
    ]
    command.append(f"BIN={Path(sys.executable).parent}")
    log = finished / "ui.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            cwd=finished,
            env=_environment(),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for _ in range(300):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                time.sleep(1)
        else:
            raise AssertionError(f"the page was not up after five minutes:\n{log.read_text()}")
        (line,) = [line for line in log.read_text().splitlines() if line.startswith("Open http")]
        yield line.split()[1]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
