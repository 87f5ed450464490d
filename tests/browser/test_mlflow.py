"""MLflow's page, as `make ui` serves it: the cells with their scores, one run's metrics, its picture."""

from .conftest import Page


def test_cells_are_listed_with_attack_rate_and_scores(page: Page, ui: str) -> None:
    page.open(ui)
    for name in ("ig", "wiig", "dia"):
        assert page.text(f"mnist, mlp, p 0.5, {name}, seed 0").is_displayed()
    heads = page.wait(lambda: [h.text for h in page.shown("//*[@role='columnheader']") if h.text], "headings")
    assert {"ssim", "psnr", "success"} <= set(heads)  # attack and rate stand in the name


def test_a_run_has_metrics_and_a_picture(page: Page, ui: str) -> None:
    page.open(ui)
    page.click("mnist, mlp, p 0.5, dia, seed 0")
    for metric in ("ssim", "mask_accuracy"):
        assert page.text(metric).is_displayed()
    page.click("Artifacts")
    page.click("reconstructions.png")
    image = page.wait(lambda: page.shown("//img[starts-with(@src, 'blob:')]")[0], "the picture")
    assert page.driver.execute_script("return arguments[0].naturalWidth", image) > 150
