"""Model architectures by name."""

NAMES = ("mlp", "vit")
