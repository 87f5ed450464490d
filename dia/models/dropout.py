"""Dropout whose mask can be replayed and optimised.

A mask is never inferred from zeros in the output (a ReLU's zeros would look dropped): it is drawn, then applied.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dia.errors import ModelError

NOT_PER_IMAGE = (
    "dropout needs inputs (images, ...), the first dimension being the images of the batch, all of them and in order "
    "(batch_first=True in transformers and recurrent layers)"
)


class Dropout(nn.Dropout):
    """``nn.Dropout`` that applies given masks when it has them: ``x * mask / (1 - p)``.

    Without masks it behaves like ``nn.Dropout`` (random in train mode, the identity in eval mode). A model that
    computes only part of a layer's outputs names the part, so that the mask keeps the layer's full shape:
    ``dropout(x, shape=full_shape, part=index)``.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__(p)
        self.masks: list[Tensor] | None = None
        self.disabled = False
        self.shapes: list[tuple[int, tuple[int, ...]]] | None = None
        self.calls = 0

    def mask_shape(self, x: Tensor) -> tuple[int, ...]:
        """Shape of one image's mask for an input ``x`` of shape (images, ...)."""
        return tuple(x.shape[1:])

    def forward(
        self, input: Tensor, *, shape: tuple[int, ...] | None = None, part: tuple[slice, ...] | None = None
    ) -> Tensor:
        """Apply dropout to ``input`` of shape (images, ...).

        Args:
            input: Activations; torch's name, since layers may be called by keyword.
            shape: Shape of one image's full mask where ``input`` holds only a part of the layer's output.
            part: Index of that part in the full mask.

        Raises:
            ModelError: The mask is not for an input of this shape.
        """
        if self.shapes is not None:
            self.shapes.append((len(input), shape or self.mask_shape(input)))
        if self.masks is None and not self.disabled:
            return super().forward(input)
        mask = self.next_mask(part)
        if mask is None:
            return input
        if part is None and mask.shape != (len(input), *self.mask_shape(input)):
            raise ModelError(
                f"a dropout module is applied to a tensor of shape {tuple(input.shape)} where its mask is "
                f"{tuple(mask.shape)}: {NOT_PER_IMAGE}"
            )
        return input * (mask * self.keep_scale)

    @property
    def keep_scale(self) -> float:
        """The factor 1 / (1 - p) on what is kept."""
        return 1 / (1 - self.p)

    def next_mask(self, part: tuple[slice, ...] | None = None) -> Tensor | None:
        """The mask of the next replayed call, or its ``part``; None for the identity."""
        if self.disabled or self.p == 0 or self.masks is None:
            return None
        if self.calls == len(self.masks):
            raise ModelError(
                f"a dropout module is called more than {self.calls} times in a forward pass, but was called that often "
                "in another: how often a model drops must not depend on the images"
            )
        mask = self.masks[self.calls]
        self.calls += 1
        return mask if part is None else mask[(slice(None), *part)]


class ChannelDropout(Dropout):
    """The replayable form of ``nn.Dropout1d``, ``2d`` and ``3d``: one mask entry per channel."""

    def mask_shape(self, x: Tensor) -> tuple[int, ...]:
        return (x.shape[1], *[1] * (x.dim() - 2))


REPLAYABLE: dict[type[nn.Module], type[Dropout]] = {
    nn.Dropout: Dropout,
    nn.Dropout1d: ChannelDropout,
    nn.Dropout2d: ChannelDropout,
    nn.Dropout3d: ChannelDropout,
}


@dataclass(frozen=True)
class Site:
    """One place where a model drops: the ``call``-th call of a dropout module in a forward pass.

    Where a client takes local steps, each ``step`` is a pass of its own, over only some ``images`` of the victim.
    """

    name: str
    module: Dropout
    call: int
    shape: tuple[int, ...]
    images: int | None = None
    step: int = 0

    @property
    def rate(self) -> float:
        return self.module.p

    def mask_shape(self, batch_size: int) -> tuple[int, ...]:
        """Shape of one victim's mask, for a victim of ``batch_size`` images."""
        return (batch_size if self.images is None else self.images, *self.shape)

    @property
    def entries(self) -> int:
        """Number of mask entries of one image."""
        return int(torch.Size(self.shape).numel())


def replace_dropout(model: nn.Module) -> nn.Module:
    """Replace every dropout module of ``model``, in place, by its replayable form and return ``model``."""
    replaced: dict[nn.Module, nn.Module] = {}  # one module under two names stays one module
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            kind = _replayable(child)
            if child is not None and kind is not None:
                if child not in replaced:
                    replaced[child] = kind(child.p).train(child.training)  # type: ignore[arg-type]
                setattr(parent, name, replaced[child])
    return model


def _replayable(module: nn.Module | None) -> type[Dropout] | None:
    """The replacement of a module: also a subclass of torch's dropout that computes as that does."""
    if isinstance(module, Dropout):
        return None
    forward = getattr(type(module), "forward", None)
    return next((new for old, new in REPLAYABLE.items() if forward is old.forward), None)


def dropout_modules(model: nn.Module) -> dict[str, Dropout]:
    """The replayable dropout modules of ``model`` by name, in module order, those with p = 0 left out."""
    return {
        name: module for name, module in model.named_modules() if isinstance(module, Dropout) and module.p > 0
    }


@torch.no_grad()
def dropout_sites(model: nn.Module, images: Tensor) -> list[Site]:
    """Find where ``model`` drops, in module order (and call order inside a module), by one forward pass.

    Args:
        model: A model made replayable, in the mode that is attacked: some models drop in train mode only.
        images: Input of shape (N, C, H, W).

    Raises:
        ModelError: A dropout module was never called, or its input's first dimension is not that of the images.
    """
    modules = dropout_modules(model)
    try:
        for module in modules.values():
            module.shapes = []
        with dropout_disabled(model):
            model(images)
        sites = []
        for name, module in modules.items():
            if not module.shapes:
                raise ModelError(
                    f"dropout module '{name}' (p = {module.p}) is never called in a forward pass in "
                    f"{'train' if model.training else 'eval'} mode; remove it, or list the others in dropout_sites"
                )
            for call, (count, shape) in enumerate(module.shapes):
                if count != len(images):
                    raise ModelError(
                        f"dropout module '{name}' is applied to {count} rows in a batch of {len(images)} images: "
                        f"{NOT_PER_IMAGE}"
                    )
                sites.append(Site(name, module, call, shape))
        return sites
    finally:
        for module in modules.values():
            module.shapes = None


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Inside the block the model is in eval mode; then every module has its own mode again (a frozen BatchNorm)."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def dropout_disabled(model: nn.Module) -> Iterator[None]:
    """Inside the block the replayable dropout modules of ``model`` are the identity."""
    modules = [module for module in model.modules() if isinstance(module, Dropout)]
    for module in modules:
        module.disabled = True
    try:
        yield
    finally:
        for module in modules:
            module.disabled = False


@contextmanager
def use_masks(sites: Sequence[Site], masks: Sequence[Tensor] | None) -> Iterator[None]:
    """Inside the block the sites apply ``masks`` (each (images, *site.shape)); with None dropout is off."""
    modules = {id(site.module): site.module for site in sites}.values()
    for module in modules:
        module.masks, module.calls, module.disabled = [], 0, masks is None
    for site, mask in zip(sites, masks or [], strict=masks is not None):
        site.module.masks.append(mask)  # type: ignore[union-attr]
    try:
        yield
        if masks is not None and any(module.calls != len(module.masks or []) for module in modules):
            raise ModelError(
                "a dropout module is called less often in one forward pass than in another: how often a model drops "
                "must not depend on the images"
            )
    finally:
        for module in modules:
            module.masks, module.disabled = None, False


def describe_sites(sites: Sequence[Site]) -> str:
    """The dropout sites of a model for a log line."""
    steps = 1 + max((site.step for site in sites), default=0)
    sites = [site for site in sites if site.step == 0]  # every local step has masks of its own
    entries = sum(site.entries for site in sites)
    taken = f", {steps} local steps" if steps > 1 else ""
    return f"{len(sites)} dropout sites with {entries} mask entries an image{taken}"
