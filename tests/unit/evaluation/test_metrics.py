"""Scores against scikit-image, torchmetrics and formulas, matching against permutations, chance levels by hand."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from dia.datasets.victim_set import VictimSet
from dia.errors import AttackError, VictimError
from dia.evaluation.assignment import assign_reconstructions
from dia.evaluation.chance_levels import chance_levels, chance_per_image
from dia.evaluation.metrics import PSNR_CAP, scores
from dia.utils.torchvision_compat import import_torchvision


def images(*shape: int, seed: int = 0) -> Tensor:
    """Smooth images in [0, 1], so that SSIM means something."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*shape[:-2], 4, 4, generator=generator, dtype=torch.float64).flatten(0, -4)
    fine = torch.nn.functional.interpolate(coarse, size=shape[-2:], mode="bicubic")
    return fine.clamp(0, 1).view(shape)


def noisy(original: Tensor, amount: float, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(original.shape, generator=generator, dtype=original.dtype)
    return (original + amount * noise).clamp(0, 1)


def skimage_ssim(original: Tensor, reconstruction: Tensor) -> float:
    """scikit-image with the settings of Wang et al. 2004, channels averaged.

    It leaves out the border of 5 pixels, where we mirror the image: so it gets a mirrored image.
    """
    a, b = (np.pad(x.numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect") for x in (original, reconstruction))
    return float(
        structural_similarity(
            a,
            b,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


@pytest.mark.parametrize("amount", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("size", [(1, 28, 28), (3, 32, 32), (3, 11, 17), (3, 48, 64)])
def test_scores_agree_with_scikit_image(size: tuple[int, int, int], amount: float) -> None:
    original = images(3, 2, *size)
    # Each victim and image has its own noise level, so that a mix-up of images would show.
    level = amount * torch.linspace(0.5, 1, 6, dtype=torch.float64).view(3, 2, 1, 1, 1)
    reconstruction = (original + level * (noisy(torch.full_like(original, 0.5), 0.2) - 0.5) * 5).clamp(0, 1)
    found = scores(original, reconstruction, success_min_ssim=0.6)
    order = assign_reconstructions(original, reconstruction)
    for v in range(3):
        for i in range(2):
            a, b = original[v, i], reconstruction[v, order[v, i]]
            mse = float(((a - b) ** 2).mean())
            assert found["mse_per_image"][v, i].item() == pytest.approx(mse, rel=1e-12)
            expected = peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1.0)
            assert found["psnr_per_image"][v, i].item() == pytest.approx(expected, rel=1e-12)
            assert found["ssim_per_image"][v, i].item() == pytest.approx(skimage_ssim(a, b), abs=1e-9)


@pytest.mark.parametrize("size", [(1, 28, 28), (3, 32, 32), (3, 11, 17)])
def test_ssim_is_that_of_torchmetrics(size: tuple[int, int, int]) -> None:
    import_torchvision()  # torchmetrics imports torchvision by itself
    from torchmetrics.functional.image import structural_similarity_index_measure

    original = images(5, 1, *size)
    original[0], original[1] = 0, 1  # without variance
    reconstruction = noisy(original, 0.3)
    expected = structural_similarity_index_measure(
        reconstruction[:, 0], original[:, 0], data_range=1.0, kernel_size=11, sigma=1.5, reduction="none"
    )
    found = scores(original, reconstruction, success_min_ssim=0.6)["ssim"]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_means_and_success_are_over_a_victims_images() -> None:
    original = images(2, 3, 1, 28, 28)
    reconstruction = original.clone()
    reconstruction[0, 1] = noisy(original[0, 1], 0.8)
    found = scores(original, reconstruction, success_min_ssim=0.6)
    for name in ("mse", "psnr", "ssim"):
        assert found[name].shape == (2,)
        assert torch.allclose(found[name], found[f"{name}_per_image"].mean(1))
    assert found["success"].tolist() == [pytest.approx(2 / 3), 1.0]
    assert all(values.dtype == torch.float64 for values in found.values())


def test_success_includes_the_threshold() -> None:
    original = images(1, 1, 1, 28, 28)
    reconstruction = noisy(original, 0.1)
    ssim = scores(original, reconstruction, 0.5)["ssim"].item()
    assert scores(original, reconstruction, ssim)["success"].item() == 1.0
    assert scores(original, reconstruction, np.nextafter(ssim, 1))["success"].item() == 0.0


def test_identical_images_have_finite_scores() -> None:
    original = images(2, 1, 3, 32, 32).to(torch.float32)
    found = scores(original, original.clone(), 0.6)
    assert found["mse"].tolist() == [0.0, 0.0]
    assert found["psnr"].tolist() == [PSNR_CAP, PSNR_CAP]
    assert found["ssim"].tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_constant_images_have_finite_scores() -> None:
    black = torch.zeros(1, 1, 1, 28, 28)
    found = scores(black, torch.ones_like(black), 0.6)
    assert found["mse"].item() == 1.0
    assert found["psnr"].item() == 0.0
    assert found["ssim"].item() == pytest.approx(1e-4 / (1 + 1e-4))  # C1 / (1 + C1), and C2 / C2


def test_victims_do_not_influence_each_other() -> None:
    """Also across the pieces in which many images are scored."""
    original = images(24, 1, 3, 32, 32)
    reconstruction = noisy(original, 0.1)
    together = scores(original, reconstruction, 0.6)
    for v in (0, 20, 21, 22, 23):
        alone = scores(original[v : v + 1], reconstruction[v : v + 1], 0.6)
        for name, values in alone.items():
            assert torch.allclose(together[name][v], values[0], rtol=1e-12, atol=1e-12)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(0, 10_000), st.floats(0, 0.5))
def test_matching_is_the_best_of_all_permutations(count: int, seed: int, amount: float) -> None:
    original = torch.rand(2, count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    reconstruction = noisy(original, amount, seed).flip(1)
    order = assign_reconstructions(original, reconstruction)
    for v in range(2):

        def cost(candidate: tuple[int, ...], v: int = v) -> float:
            return float(((original[v] - reconstruction[v, list(candidate)]).double() ** 2).sum())

        assert sorted(order[v].tolist()) == list(range(count))
        best = min(cost(candidate) for candidate in permutations(range(count)))
        assert cost(tuple(order[v].tolist())) == pytest.approx(best, rel=1e-9, abs=1e-12)


def test_matching_finds_a_shuffle_and_scores_undo_it() -> None:
    original = images(2, 5, 3, 32, 32)
    reconstruction = noisy(original, 0.05)
    shuffle = torch.tensor([[3, 1, 4, 0, 2], [1, 2, 3, 4, 0]])
    shuffled = reconstruction[torch.arange(2)[:, None], shuffle]
    assert torch.equal(assign_reconstructions(original, shuffled), shuffle.argsort(1))
    straight, undone = scores(original, reconstruction, 0.6), scores(original, shuffled, 0.6)
    assert all(torch.equal(straight[name], undone[name]) for name in straight)


def test_matching_tells_near_perfect_reconstructions_apart() -> None:
    """Two originals that differ by 1e-6: the expanded square would lose them in rounding."""
    base = images(1, 1, 1, 28, 28).clamp(0.1, 0.9).to(torch.float64)
    original = torch.cat([base, base + 1e-6], dim=1)
    assert assign_reconstructions(original, original.flip(1)).tolist() == [[1, 0]]


def test_images_smaller_than_the_window_are_refused() -> None:
    small = torch.rand(1, 1, 1, 10, 28)
    with pytest.raises(VictimError, match="images of 10x28 pixels cannot be scored: SSIM needs at least 11"):
        scores(small, small, 0.6)
    with pytest.raises(VictimError, match="SSIM needs at least 11"):
        chance_per_image(small[0], torch.zeros(1))


def test_lost_reconstructions_are_named() -> None:
    original = images(3, 1, 1, 28, 28)
    reconstruction = original.clone()
    reconstruction[1, 0, 0, 5, 5] = torch.nan
    with pytest.raises(AttackError, match=r"victim\(s\) \[1\]"):
        scores(original, reconstruction, 0.6)


@pytest.mark.parametrize("bad", [-0.5, 2.0])
def test_normalised_images_are_refused(bad: float) -> None:
    original = images(1, 1, 1, 28, 28)
    with pytest.raises(ValueError, match=r"reconstruction has values .* need images in \[0, 1\]"):
        scores(original, torch.full_like(original, bad), 0.6)
    with pytest.raises(ValueError, match=r"original has values .* need images in \[0, 1\]"):
        scores(torch.full_like(original, bad), original, 0.6)


def test_rounding_outside_the_range_is_clamped() -> None:
    black = torch.zeros(1, 1, 1, 28, 28)
    assert scores(black, black - 1e-6, 0.6)["mse"].item() == 0.0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        scores(torch.rand(1, 1, 1, 28, 28), torch.rand(1, 2, 1, 28, 28), 0.6)


def test_chance_levels_by_hand() -> None:
    victims = images(5, 3, 32, 32)
    labels = torch.tensor([0, 1, 0, 0, 2])
    found = chance_per_image(victims, labels)
    assert set(found) == {f"{s}_{g}" for s in ("mse", "psnr", "ssim") for g in ("mean_image", "same_class")}
    mean = victims.mean(0)
    for i, other in enumerate([2, None, 3, 0, None]):  # the next image of the same class
        for guess, name in ((mean, "mean_image"), (None if other is None else victims[other], "same_class")):
            row = {score: found[f"{score}_{name}"][i].item() for score in ("mse", "psnr", "ssim")}
            if guess is None:
                assert all(np.isnan(value) for value in row.values())
            else:
                mse = float(((victims[i] - guess) ** 2).mean())
                assert row["mse"] == pytest.approx(mse, rel=1e-12)
                assert row["psnr"] == pytest.approx(-10 * np.log10(mse), rel=1e-6)
                assert row["ssim"] == pytest.approx(skimage_ssim(victims[i], guess), abs=1e-9)


def test_chance_of_the_first_victims_is_against_the_whole_set() -> None:
    pixels = (images(5, 3, 32, 32) * 255).round()
    statistics = np.full(3, 0.5, dtype=np.float32)
    victim_set = VictimSet(
        pixels.permute(0, 2, 3, 1).numpy().astype(np.uint8),
        np.array([0, 1, 0, 1, 1]),
        np.arange(5),
        statistics,
        statistics,
        "made",
        "made",
        "made",
        2,
    )
    every = chance_per_image(pixels / 255, torch.tensor(victim_set.labels))
    first = chance_levels(victim_set, victims=1, batch_size=2)
    assert all(torch.equal(first[name], every[name][:2].mean(0, keepdim=True)) for name in every)


def test_chance_of_a_single_image_is_not_a_number() -> None:
    found = chance_per_image(images(1, 1, 28, 28), torch.tensor([3]))
    assert all(torch.isnan(values).all() for values in found.values())


def test_chance_needs_a_label_an_image() -> None:
    with pytest.raises(ValueError, match="labels have shape"):
        chance_per_image(images(2, 1, 28, 28), torch.tensor([3]))
