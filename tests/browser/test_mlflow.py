"""MLflow's page, as `make ui` serves it: the cells with their scores, one run's metrics, its picture."""

from .conftest import Page


def unfolded(page: Page, ui: str) -> None:
    """Open the list of runs and show the cells of the one model."""
    page.open(ui)
    page.text("mnist, mlp")
    row = "//*[@role='gridcell'][.//*[normalize-space(text())='mnist, mlp']]"
    page.wait(lambda: page.shown(f"{row}//button")[0].click() or True, "the button that unfolds")


def test_cells_are_listed_with_their_scores(page: Page, ui: str) -> None:
    unfolded(page, ui)
    for name in ("p 0.5, ig, seed 0", "p 0.5, wiig, seed 0", "p 0.5, dia, seed 0"):
        assert page.text(name).is_displayed()
    heads = page.wait(lambda: [h.text for h in page.shown("//*[@role='columnheader']") if h.text], "headings")
    assert {"ssim", "psnr", "success"} <= set(heads)


def test_a_run_has_metrics_and_a_picture(page: Page, ui: str) -> None:
    unfolded(page, ui)
    page.click("p 0.5, dia, seed 0")
    for metric in ("ssim", "mask_accuracy"):
        assert page.text(metric).is_displayed()
    page.click("Artifacts")
    page.click("reconstructions.png")
    image = page.wait(lambda: page.shown("//img[starts-with(@src, 'blob:')]")[0], "the picture")
    assert page.driver.execute_script("return arguments[0].naturalWidth", image) > 150
