"""A user's own torch model: how the config names it, and how it is made. Light to import."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from dia.errors import ModelError
from dia.models.custom_source import source_fingerprint
from dia.utils.strict_model import StrictModel

if TYPE_CHECKING:
    from torch import nn

_FACTORY = re.compile(r"module:(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.(?P<name>[A-Za-z_]\w*)")
Scalar = str | int | float | bool | None
Argument = Scalar | list[Scalar]
PLACEHOLDERS = ("$num_classes", "$dropout_rate", "$channels", "$height", "$width")


class CustomModel(StrictModel):
    """Where a model comes from: a callable that returns a torch module."""

    factory: str = Field(
        description="module:PACKAGE.NAME: the callable NAME of an importable Python module (also one in the "
        "working directory) that returns the model, such as module:torchvision.models.vgg11."
    )
    arguments: dict[str, Argument] = Field(
        {},
        description="Keyword arguments of the factory. $num_classes, $dropout_rate, $channels, $height and $width "
        "stand for what the cell has.",
    )

    @field_validator("factory")
    @classmethod
    def _is_a_factory(cls, value: str) -> str:
        if not _FACTORY.fullmatch(value):
            raise ValueError("must be module:PACKAGE.NAME, for example module:torchvision.models.vgg11")
        return value

    @field_validator("arguments")
    @classmethod
    def _placeholders_exist(cls, value: dict[str, Argument]) -> dict[str, Argument]:
        for key, argument in value.items():
            if isinstance(argument, str) and argument.startswith("$") and argument not in PLACEHOLDERS:
                raise ValueError(f"{key}: {argument} is none of {', '.join(PLACEHOLDERS)}")
        return value

    def make(self, shape: tuple[int, int, int], num_classes: int, p: float) -> "nn.Module":
        """Call the factory.

        Args:
            shape: (C, H, W) of one image.
            num_classes: Number of outputs.
            p: Dropout rate.

        Raises:
            ModelError: It cannot be imported, fails, or returns no torch module.
        """
        from torch import nn

        _without_fused_attention()
        cell = dict(zip(PLACEHOLDERS, (num_classes, p, *shape), strict=True))
        arguments = {
            key: cell[value] if isinstance(value, str) and value in cell else value
            for key, value in self.arguments.items()
        }
        try:
            model = self._callable()(**arguments)
        except Exception as error:  # whatever the user's code raises
            if isinstance(error, ModelError):
                raise
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise ModelError(f"{self.factory} failed when called with ({given}): {_said(error)}") from error
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"{self.factory} returned a {type(model).__name__}; it must return a torch.nn.Module"
            )
        return model

    def with_fingerprint(self) -> "FingerprintedModel":
        """This model as its source files in the working directory are now."""
        return FingerprintedModel(
            factory=self.factory, arguments=self.arguments, source=source_fingerprint(self.module, Path())
        )

    @property
    def module(self) -> str:
        """The module of the factory, dotted."""
        match = _FACTORY.fullmatch(self.factory)
        assert match is not None  # the validator saw to it
        return match["module"]

    def _callable(self) -> Callable[..., Any]:
        from dia.utils.torchvision_compat import import_torchvision

        name = self.factory.rpartition(".")[2]
        import_torchvision()  # the user's module may import it, and would not know how
        try:
            module = importlib.import_module(self.module)
        except Exception as error:  # whatever the user's module raises when it is imported
            raise ModelError(
                f"{self.factory}: the module {self.module} cannot be imported ({_said(error)}); "
                "install it, or put it into the folder where snakemake is started"
            ) from error
        found = getattr(module, name, None)
        if not callable(found):
            raise ModelError(f"{self.factory}: the module {self.module} has no callable {name}")
        return found  # type: ignore[no-any-return]


class FingerprintedModel(CustomModel):
    """A user's own model with the version of its source: part of a cell's identity, so that an edit reruns it."""

    source: str = Field(
        "",
        description="Fingerprint of the code in the model's files in the working directory; empty where it is "
        "installed elsewhere.",
    )

    def make(self, shape: tuple[int, int, int], num_classes: int, p: float) -> "nn.Module":
        """Call the factory, if its files are those of the fingerprint.

        Raises:
            ModelError: Also where they are others now, whose numbers would stand under a wrong name.
        """
        if source_fingerprint(self.module, Path()) != self.source:
            raise ModelError(
                f"{self.factory}: the files of {self.module} in {Path.cwd()} are not those that this job was planned "
                "for; if they were edited while the workflow ran, start it again"
            )
        return super().make(shape, num_classes, p)


def _without_fused_attention() -> None:
    """Fused attention has no second derivative, which gradient matching needs: torch is to compute it plainly."""
    import torch

    torch.backends.cuda.enable_flash_sdp(False)  # on the CPU, too
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.mha.set_fastpath_enabled(False)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
