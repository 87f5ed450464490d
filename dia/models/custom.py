"""A user's own torch model: how the config names it, and how it is made. Light to import."""

import functools
import hashlib
import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from dia.errors import ModelError
from dia.models.custom_source import source_fingerprint
from dia.models.registry import MODELS
from dia.utils.lazy_import import load_object
from dia.utils.paths import PathText, expanded
from dia.utils.strict_model import StrictModel

if TYPE_CHECKING:
    from torch import nn

_FACTORY = re.compile(r"module:(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\.(?P<name>[A-Za-z_]\w*)")
Scalar = str | int | float | bool | None
Argument = Scalar | list[Scalar]
WEIGHTS_SUFFIXES = (".safetensors", ".npz", ".pt", ".pth")
PLACEHOLDERS = ("$num_classes", "$dropout_rate", "$channels", "$height", "$width")


class CustomModel(StrictModel):
    """The origin of a model: a callable that returns a torch module."""

    factory: str = Field(
        description="module:PACKAGE.NAME: the callable NAME of an importable Python module (also one in the "
        "working directory) that returns the model, such as module:torchvision.models.vgg11; or the name of a "
        "built-in architecture, to give it weights."
    )
    arguments: dict[str, Argument] = Field(
        {},
        description="Keyword arguments of the factory. $num_classes, $dropout_rate, $channels, $height and $width "
        "stand for what the cell has.",
    )
    dropout_rates: Literal["cell", "own"] = Field(
        "cell",
        description="cell: every dropout module gets the cell's dropout rate; own: each keeps the rate that the "
        "factory gave it (the cell's rate then only enters through $dropout_rate).",
    )
    weights: PathText | None = Field(
        None,
        description="File with the weights that the model starts from, whatever the seed: .safetensors, .npz or .pt, "
        "by the names of the state dict. Its content is a part of the cells' identity. Relative to the working "
        "directory of the workflow; null: the weights that the factory draws under the cell's seed.",
    )

    @field_validator("factory")
    @classmethod
    def _is_a_factory(cls, value: str) -> str:
        if value in MODELS:
            return value
        if not _FACTORY.fullmatch(value):
            raise ValueError(
                "must be module:PACKAGE.NAME, for example module:torchvision.models.vgg11, or a built-in architecture: "
                + ", ".join(MODELS)
            )
        package = value.removeprefix("module:").partition(".")[0]
        if package in sys.stdlib_module_names:
            raise ValueError(
                f"{package} is a module of Python's standard library, which has no torch models; name one of your own "
                "or of an installed package"
            )
        return value

    @field_validator("weights")
    @classmethod
    def _is_a_kind_that_is_read(cls, value: str | None) -> str | None:
        if value is not None and Path(value).suffix not in WEIGHTS_SUFFIXES:
            raise ValueError(f"must be a file with one of the suffixes {', '.join(WEIGHTS_SUFFIXES)}")
        return value

    @field_validator("arguments")
    @classmethod
    def _placeholders_exist(cls, value: dict[str, Argument]) -> dict[str, Argument]:
        for key, argument in value.items():
            if isinstance(argument, str) and argument.startswith("$") and argument not in PLACEHOLDERS:
                raise ValueError(f"{key}: {argument} is none of {', '.join(PLACEHOLDERS)}")
        return value

    @model_validator(mode="after")
    def _architectures_take_no_more(self) -> Self:
        if self.architecture is not None:
            if self.arguments:
                raise ValueError(
                    f"the built-in architecture {self.factory} takes no arguments: leave them out"
                )
            if self.dropout_rates == "own":
                raise ValueError(
                    f"the built-in architecture {self.factory} has no dropout rates of its own: leave dropout_rates out"
                )
        return self

    @model_serializer(mode="wrap")
    def _without_absent_weights(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The model without keys that were never used, so that they change no job."""
        return {key: value for key, value in serialise(self).items() if value is not None}

    def make(self, shape: tuple[int, int, int], num_classes: int, p: float) -> "nn.Module":
        """Call the factory; see :func:`dia.models.weights_file.load_weights` for the file of weights.

        Args:
            shape: (C, H, W) of one image.
            num_classes: Number of outputs.
            p: Dropout rate.

        Raises:
            ModelError: It cannot be imported, fails, or returns no torch module.
        """
        from torch import nn

        if self.architecture is not None:
            built_in: nn.Module = load_object(MODELS[self.architecture].factory)(shape, num_classes, p)
            return built_in
        _without_fused_attention()
        cell = dict(zip(PLACEHOLDERS, (num_classes, p, *shape), strict=True))
        arguments = {
            key: cell[value] if isinstance(value, str) and value in cell else value
            for key, value in self.arguments.items()
        }
        try:
            model = self._callable()(**arguments)
        except (Exception, SystemExit) as error:  # whatever the user's code raises
            if isinstance(error, ModelError):
                raise
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise ModelError(f"{self.factory} failed when called with ({given}): {_said(error)}") from error
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"{self.factory} returned a {type(model).__name__}; it must return a torch.nn.Module"
            )
        return _plain(self.factory, model, shape)

    def with_fingerprint(self) -> "FingerprintedModel":
        """This model as its files in the working directory are now.

        Raises:
            ModelError: The file of weights cannot be read.
        """
        return FingerprintedModel(**dict(self), source=self._source(), weights_sha256=self._weights_sha256())

    @property
    def architecture(self) -> str | None:
        """The built-in architecture that the factory names, if it names one."""
        return self.factory if self.factory in MODELS else None

    @property
    def ignores_rate(self) -> bool:
        """Tell whether the cell's dropout rate changes nothing."""
        return self.dropout_rates == "own" and "$dropout_rate" not in self.arguments.values()

    @property
    def weights_path(self) -> Path | None:
        """The file of weights, if there is one."""
        return None if self.weights is None else expanded(self.weights)

    @property
    def module(self) -> str:
        """The module of the factory, dotted."""
        match = _FACTORY.fullmatch(self.factory)
        assert match is not None  # the validator saw to it
        return match["module"]

    def _source(self) -> str:
        return "" if self.architecture is not None else source_fingerprint(self.module, Path())

    def _weights_sha256(self) -> str | None:
        if self.weights_path is None:
            return None
        try:
            with self.weights_path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"weights {self.weights}: cannot be read ({error.strerror})") from error

    def _callable(self) -> Callable[..., Any]:
        from dia.utils.torchvision_compat import import_torchvision

        name = self.factory.rpartition(".")[2]
        import_torchvision()  # the user's module may import it, and would not know how
        try:
            module = importlib.import_module(self.module)
        except (Exception, SystemExit) as error:  # whatever the user's module raises when it is imported
            raise ModelError(
                f"{self.factory}: the module {self.module} cannot be imported ({_said(error)}); "
                "install it, or put it into the folder where snakemake is started"
            ) from error
        found = getattr(module, name, None)
        if not callable(found):
            raise ModelError(f"{self.factory}: the module {self.module} has no callable {name}")
        if not _makes_models(found):
            raise ModelError(
                f"{self.factory} is not called: a factory is a subclass of torch.nn.Module, or a function written in "
                "Python in a module outside of Python's standard library"
            )
        return found  # type: ignore[no-any-return]


class FingerprintedModel(CustomModel):
    """A user's own model with the version of its source: part of a cell's identity, so that an edit reruns it."""

    source: str = Field(
        "",
        description="Fingerprint of the code in the model's files in the working directory; empty where it is "
        "installed elsewhere.",
    )
    weights_sha256: str | None = Field(None, description="SHA-256 of the file of weights; null without one.")

    def make(self, shape: tuple[int, int, int], num_classes: int, p: float) -> "nn.Module":
        """Call the factory, if its files are those of the fingerprint.

        Raises:
            ModelError: Also where they are others now, whose numbers would stand under a wrong name.
        """
        if self._weights_sha256() != self.weights_sha256:
            raise ModelError(
                f"weights {self.weights}: the file in {Path.cwd()} is not the one that this job was planned for; if it "
                "was replaced while the workflow ran, start it again"
            )
        if self._source() != self.source:
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


def _makes_models(found: Any) -> bool:
    """Tell whether calling this could make a model, as far as can be told without calling it."""
    from torch import nn

    found = inspect.unwrap(found)
    while isinstance(found, functools.partial | types.MethodType):
        found = inspect.unwrap(found.func if isinstance(found, functools.partial) else found.__func__)
    if isinstance(found, type):
        return issubclass(found, nn.Module)
    where = found if isinstance(found, types.FunctionType) else type(found)
    return where.__module__.partition(".")[0] not in sys.stdlib_module_names


def _plain(factory: str, model: "nn.Module", shape: tuple[int, int, int]) -> "nn.Module":
    """The model with its lazy layers initialised.

    Raises:
        ModelError: It is wrapped in something that computes otherwise, or has parameters of a type that cannot be
            attacked.
    """
    import torch
    from torch import nn
    from torch.nn.parameter import is_lazy

    for name, module in model.named_modules():
        where = f"module '{name}'" if name else "the model"
        if (
            "_orig_mod" in module._modules
            or module._compiled_call_impl is not None
            or hasattr(module.forward, "_torchdynamo_orig_callable")
        ):
            raise ModelError(
                f"{factory}: {where} is compiled (torch.compile), which cannot be differentiated twice; return it "
                "uncompiled"
            )
        if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise ModelError(
                f"{factory}: {where} is wrapped in {type(module).__name__}; return the module inside (.module)"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{factory}: {where} is scripted (torch.jit), where dropout cannot be replaced; return the module that "
                "it was made from"
            )
    if any(is_lazy(parameter) for parameter in model.parameters()):
        training = model.training
        try:
            with torch.no_grad():
                model.eval()(torch.zeros(1, *shape))
        except (Exception, SystemExit) as error:  # whatever the user's forward raises
            raise ModelError(
                f"{factory}: its lazy layers cannot be initialised by an image of shape {shape}: {_said(error)}"
            ) from error
        model.train(training)
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ModelError(f"{factory}: the lazy parameter '{name}' is not initialised by a forward pass")
        if parameter.is_complex():
            raise ModelError(
                f"{factory}: the parameter '{name}' is complex; attacks compute with real numbers"
            )
    return model


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
