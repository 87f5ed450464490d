"""The paper's vision transformer at the size of ViT-B/16 (Dosovitskiy et al. 2021), for images of 224 x 224."""

from dia.models.vit import ViT


def vit_b16(shape: tuple[int, int, int], num_classes: int, p: float) -> ViT:
    """86 million parameters at 224 x 224 and 1000 classes; arguments as for :class:`dia.models.vit.ViT`.

    Raises:
        ModelError: The image's sides are no multiples of 16.
    """
    return ViT(shape, num_classes, p, patch=16, dim=768, depth=12, heads=12, hidden=3072)
