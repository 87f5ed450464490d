"""Randomness that belongs to one victim and one purpose.

Every random draw of a cell comes from a generator derived from (seed, victim, purpose). A victim's numbers are
therefore the same whatever shares its pass, and, since neither the attack nor the dropout rate enters, all attacks
of a (dataset, model, rate, seed) face the same weights, client masks and starting image (paired comparison).
All draws are made on the CPU, so that they are the same on every device.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dia.errors import ModelError


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed from the cell's seed and the names of what is to be drawn (SHA-256, platform independent)."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator for one purpose, e.g. ``generator(cell.seed, victim_id, "x0")``."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))


@contextmanager
def default_generator(seed: int, *names: object) -> Iterator[None]:
    """Seed the global generators of torch (CPU), numpy and Python inside the block, and restore them afterwards.

    Layers initialise themselves with torch's, models ported from elsewhere with the others.
    """
    derived, numpy_state, python_state = derive_seed(seed, *names), np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived)
            np.random.seed(derived % 2**32)
            random.seed(derived)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)


def _numpy_key(state: Any) -> tuple[Any, ...]:
    """The state of numpy's global generator as something that can be compared."""
    name, keys, *rest = state
    return (name, keys.tobytes(), *rest)


@contextmanager
def untouched_generators() -> Iterator[None]:
    """See that the block, in which a model computes, draws nothing from a global generator.

    Raises:
        ModelError: It does, so that no mask of a dropout module can replay it.
    """
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    drawn = [
        name
        for name, same in (
            ("torch", torch.equal(torch_state, torch.get_rng_state())),
            ("numpy.random", _numpy_key(numpy_state) == _numpy_key(np.random.get_state())),
            ("Python's random", python_state == random.getstate()),
        )
        if not same
    ]
    if drawn:
        raise ModelError(
            f"the model draws random numbers of {', '.join(drawn)} in a forward pass in train mode, where no dropout "
            "mask can be replayed: use nn.Dropout modules instead"
        )


def normal(shape: tuple[int, ...], rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """Standard normal draw, made in float64 so that both precisions start from the same numbers."""
    return torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype)


def bernoulli(shape: tuple[int, ...], keep: float, rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    """0/1 draw with P(1) = ``keep``, from float64 uniforms."""
    return (torch.rand(shape, generator=rng, dtype=torch.float64) < keep).to(dtype)
