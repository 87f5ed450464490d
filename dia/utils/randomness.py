"""Randomness that belongs to one victim and one purpose.

Every random draw of a cell comes from a generator derived from (seed, victim, purpose). A victim's numbers are
therefore the same whatever shares its pass, and, since neither the attack nor the dropout rate enters, all attacks
of a (dataset, model, rate, seed) face the same weights, client masks and starting image (paired comparison).
All draws are made on the CPU, so that they are the same on every device.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from the cell's seed and the names of what is to be drawn (SHA-256, platform independent)."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for one purpose, e.g. ``generator(cell.seed, victim_id, "x0")``."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def default_generator(seed: int, *names: object) -> Iterator[None]:
    """Seed torch's default CPU generator inside the block (layers' own initialisation), restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *names))
        yield


def normal(shape: tuple[int, ...], rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Standard normal draw, made in float64 so that both precisions start from the same numbers."""
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)


def bernoulli(shape: tuple[int, ...], keep: float, rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """0/1 draw with P(1) = ``keep``, from float64 uniforms."""
    return (torch.rand(shape, generator=rng, dtype=torch.float64) < keep).to(dtype)
