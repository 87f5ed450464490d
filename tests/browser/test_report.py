"""The report, as a reader opens it: one file, no network, no error."""

from pathlib import Path

import torch
from selenium.webdriver.remote.webelement import WebElement

from .conftest import NAME, Page


def opened(page: Page, finished: Path) -> None:
    page.open((finished / "results" / NAME / "report.html").as_uri())
    page.text("Figures")


def test_the_report_opens_with_its_categories_and_no_error(page: Page, finished: Path) -> None:
    opened(page, finished)
    assert page.driver.title == "Snakemake Report"
    for category in ("Figures", "Tables", "What was run"):
        assert page.text(category).is_displayed()
    assert (
        f"configured in {NAME}: tables, figures" in page.text("Workflow").find_element("xpath", "//body").text
    )
    assert page.errors() == []


def test_the_report_opens_on_a_figure_and_a_table(page: Page, finished: Path) -> None:
    opened(page, finished)
    image = page.wait(lambda: page.shown("//img[contains(@alt, 'figures/rates')]")[0], "the figure")
    assert page.driver.execute_script("return arguments[0].naturalWidth", image) > 500
    page.driver.switch_to.frame(page.wait(lambda: page.shown("//iframe[@title='dropout']")[0], "the table"))
    assert page.text("Reconstruction quality by dropout rate").tag_name == "h1"
    assert page.errors() == []


def test_the_first_figure_is_shown_with_its_caption(page: Page, finished: Path) -> None:
    opened(page, finished)
    page.click("Figures")
    page.text("rates")
    first_eye(page).click()
    own = "//img[contains(@src, 'data:image/png') and not(contains(@alt, 'results/'))]"  # not that of the first page
    image = page.wait(lambda: page.shown(own)[0], "an image")
    width = page.driver.execute_script("return arguments[0].naturalWidth", image)
    assert width > 500
    assert page.errors() == []


def test_the_first_table_is_shown(page: Page, finished: Path) -> None:
    opened(page, finished)
    page.click("Tables")
    page.text("dropout")
    first_eye(page).click()
    frame = page.wait(lambda: page.shown("//iframe[not(@title)]")[0], "a frame")
    page.driver.switch_to.frame(frame)
    assert page.text("Reconstruction quality by dropout rate").tag_name == "h1"
    assert len(page.shown("//tbody/tr")) == 4  # three attacks, the mean image
    assert "3 of 3 cells." in [note.text for note in page.shown("//li")]
    assert page.errors() == []


def test_what_was_run_names_settings_and_versions(page: Page, finished: Path) -> None:
    opened(page, finished)
    page.click("What was run")
    page.text("cells, settings, versions, machines")
    first_eye(page).click()
    page.driver.switch_to.frame(page.wait(lambda: page.shown("//iframe[not(@title)]")[0], "a frame"))
    assert page.text(f"{NAME}: 3 of 3 cells").tag_name == "h1"
    rows = [row.text for row in page.shown("//tbody/tr")]
    assert "victims 2 128" in rows
    assert any(torch.__version__ in row for row in rows)


def first_eye(page: Page) -> WebElement:
    """The button that shows the first result of a category."""
    found: WebElement = page.wait(lambda: page.shown("//td//button | //td//a")[0], "a button")
    return found
