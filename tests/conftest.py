"""What all tests share."""

from hypothesis import settings

# No test asserts a time: not on a loaded machine, and not where the first example imports half of torch.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
