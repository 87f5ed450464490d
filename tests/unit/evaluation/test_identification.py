"""Identification of private images, against a plain loop over all candidates, and its chance level by simulation."""

import pytest
import torch

from dia.evaluation.identification import identified, identified_chance


def test_it_is_the_share_of_images_that_some_reconstruction_is_nearest_to() -> None:
    rng = torch.Generator().manual_seed(0)
    candidates = torch.rand((5, 3, 2, 4, 4), generator=rng, dtype=torch.float64)
    found = candidates[:, [1, 0, 2]] + 0.4 * torch.randn((5, 3, 2, 4, 4), generator=rng, dtype=torch.float64)
    expected = []
    for victim in range(5):
        hit = set()
        for image in range(3):
            distances = {
                (v, i): float(((found[victim, image] - candidates[v, i]) ** 2).mean())
                for v in range(5)
                for i in range(3)
            }
            nearest = min(distances, key=distances.__getitem__)
            hit |= {nearest[1]} if nearest[0] == victim else set()
        expected.append(len(hit) / 3)
    assert 0 < sum(expected) < 5
    assert identified(candidates, found, candidates).tolist() == pytest.approx(expected)
    assert identified(candidates[1:3], found[1:3], candidates).tolist() == pytest.approx(expected[1:3])


def test_equal_images_are_equally_near() -> None:
    image = torch.rand(1, 1, 1, 4, 4, dtype=torch.float64)
    candidates = torch.cat([image, image, 1 - image])
    assert identified(candidates, candidates, candidates).tolist() == [1, 1, 1]
    grey = torch.full_like(candidates, 0.5)
    assert identified(candidates, grey, candidates).sum() >= 1


@pytest.mark.parametrize(("victims", "images"), [(4, 1), (16, 1), (3, 2), (4, 4)])
def test_the_chance_level_is_what_reconstructions_of_other_images_reach(victims: int, images: int) -> None:
    """Reconstructions that equal candidates drawn at random: which victim they are said to be of does not matter."""
    rng = torch.Generator().manual_seed(1)
    candidates = torch.rand((victims, images, 1, 3, 3), generator=rng, dtype=torch.float64)
    everyone, shares = candidates.flatten(0, 1), []
    for _ in range(1500):
        drawn = torch.randint(len(everyone), (victims, images), generator=rng)
        shares.append(float(identified(candidates, everyone[drawn], candidates).mean()))
    chance = identified_chance(candidates, candidates)
    assert chance.shape == (victims,)
    assert float(chance[0]) == pytest.approx(sum(shares) / len(shares), rel=0.05)
    if images == 1:
        assert float(chance[0]) == pytest.approx(1 / victims)
