"""Model architectures by name."""

NAMES = ("mlp", "lenet", "resnet18", "vit", "vit_b16")
