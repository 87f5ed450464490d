"""A pretend GPU: tensors that say they are on ``cuda:0`` and are computed on the CPU.

Raises what CUDA raises where devices are mixed, and counts kernel launches, synchronisations and copies.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

CUDA = torch.device("cuda:0")
MEMORY = 80 * 2**30
"""Bytes that the GPU says it has; nothing ever fails to fit."""
aten = torch.ops.aten
VIEWS = (
    "view _unsafe_view detach alias expand permute transpose t slice select unsqueeze squeeze split unbind"
)
VIEWS += " split_with_sizes lift_fresh _reshape_alias diagonal unfold narrow as_strided"
VIEWS += " empty empty_like new_empty empty_strided"
NO_KERNEL = {getattr(aten, name) for name in [*VIEWS.split(), "new_empty_strided", "is_same_size"]}
SYNCHRONISES = {
    getattr(aten, name)
    for name in [
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "_unique2",
        "unique_dim",
        "equal",
        "linalg_inv_ex",
        "_linalg_svd",
    ]
}
INDEXING = {aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_, aten._unsafe_index}
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.convolution, aten.convolution_backward}


@dataclass
class Counts:
    """What was done so far: launches by operation, synchronisations and copies by operation, operations in order."""

    launches: Counter[str] = field(default_factory=Counter)
    synchronisations: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    operations: list[str] = field(default_factory=list)


class Recorder(Protocol):
    """Notes operations on tensors of the CPU, those behind the tensors of the GPU."""

    def record(self, func: Any, args: Any, kwargs: Any, found: Any) -> None: ...


COUNTS = Counts()
CAPTURES: list[Recorder] = []
"""Graphs that are being captured: operations go there, and what would make the CPU wait is an error."""


def reset() -> Counts:
    """Begin to count anew; what was counted before."""
    before = Counts(*vars(COUNTS).values())
    vars(COUNTS).update(vars(Counts()))
    return before


class GpuTensor(Tensor):
    """A tensor on the pretend GPU; C++ takes it for one without data, so no CPU kernel can read it by accident."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    data_on_cpu: Tensor

    @staticmethod
    def __new__(cls, value: Tensor) -> "GpuTensor":
        made: GpuTensor = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, value.shape, strides=value.stride(), storage_offset=value.storage_offset(), dtype=value.dtype,
            layout=value.layout, device=torch.device("meta"), requires_grad=False,
        )  # fmt: skip
        made.data_on_cpu = value
        return made

    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")

    __array__ = numpy

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"GpuTensor({self.data_on_cpu!r})"

    def __getitem__(self, index: Any) -> Any:  # an index in a list is made on the CPU, and copied
        fixed = torch.tensor(index) if isinstance(index, list) else index
        if isinstance(index, tuple):
            fixed = tuple(torch.tensor(i) if isinstance(i, list) else i for i in index)
        return Tensor.__getitem__(self, fixed)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        copied: Tensor = GpuTensor(self.data_on_cpu.clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        memo[id(self)] = copied
        return copied

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.data_on_cpu.untyped_storage()

    def _value(self, kind: str) -> Tensor:
        _synchronise(kind)
        return self.data_on_cpu.detach()

    def tolist(self) -> Any:
        return self._value("tolist").tolist()

    def item(self) -> Any:
        return self._value("item").item()

    def __bool__(self) -> bool:
        return bool(self._value("bool"))

    def __int__(self) -> int:
        return int(self._value("int"))

    def __float__(self) -> float:
        return float(self._value("float"))

    def __index__(self) -> int:
        return self._value("index").__index__()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def _synchronise(kind: str) -> None:
    if CAPTURES:
        raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({kind})")
    COUNTS.synchronisations[kind] += 1


def _leaves(value: Any) -> Iterator[Any]:
    """What lists, tuples and dictionaries hold; torch's own pytree takes most of the time of these tests."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """``function`` of every leaf, in the same lists, tuples and dictionaries."""
    if isinstance(value, list):
        return [_mapped(function, item) for item in value]
    if isinstance(value, tuple):
        return tuple(_mapped(function, item) for item in value)
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    return function(value)


def _unwrap(value: Any) -> Any:
    return value.data_on_cpu if isinstance(value, GpuTensor) else value


def _wrap(value: Any) -> Any:
    return GpuTensor(value) if isinstance(value, Tensor) else value


def _dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.prim.device.default:
        return CUDA
    kind = func.overloadpacket
    leaves = list(_leaves((args, kwargs)))
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    on_gpu = [tensor for tensor in tensors if isinstance(tensor, GpuTensor)]
    target = kwargs.get("device")
    to_gpu = bool(on_gpu) if target is None else torch.device(target).type in ("cuda", "meta")
    if kind in (aten._to_copy, aten.copy_):
        return _copy(func, args, kwargs, to_gpu)
    _check_places(func, args, tensors, on_gpu)
    if to_gpu and any(isinstance(leaf, torch.Generator) for leaf in leaves):
        raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
    plain_args, plain = _mapped(_unwrap, (args, kwargs))
    if to_gpu and "device" in plain:
        plain["device"] = torch.device("cpu")
    if kind in PRODUCTS and torch.backends.cuda.matmul.allow_tf32:
        plain_args = _mapped(_tf32, plain_args)
    if kind in SYNCHRONISES:
        _synchronise(str(kind))
    found = func(*plain_args, **plain)
    for graph in CAPTURES:
        graph.record(func, plain_args, plain, found)
    if kind not in NO_KERNEL:
        # ATen's Im2Col.cu loops over the batch; foreach functions and convolutions are counted as one
        COUNTS.launches[str(kind)] += args[0].shape[0] if kind is aten.im2col else 1
        COUNTS.operations.append(str(kind))
    if not to_gpu or not any(isinstance(leaf, Tensor) for leaf in _leaves(found)):
        return found
    wrapped = _mapped(_wrap, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if on_gpu else wrapped


def _check_places(func: Any, args: Any, tensors: list[Tensor], on_gpu: list[GpuTensor]) -> None:
    on_cpu = [tensor for tensor in tensors if not isinstance(tensor, GpuTensor)]
    if not on_gpu or not on_cpu:
        return
    if func.overloadpacket in INDEXING and isinstance(args[0], GpuTensor):
        COUNTS.copies[str(func)] += sum(
            isinstance(i, Tensor) and not isinstance(i, GpuTensor) for i in args[1]
        )
        on_cpu = [t for t in args[2:3] if isinstance(t, Tensor) and not isinstance(t, GpuTensor)]
    if any(tensor.dim() for tensor in on_cpu) or func.overloadpacket in PRODUCTS:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found cuda:0 and cpu")
    if func._schema.name.endswith("_") and not isinstance(tensors[0], GpuTensor):
        raise RuntimeError(f"{func}: in-place on a CPU tensor with an operand on cuda:0")


def _copy(func: Any, args: Any, kwargs: dict[str, Any], to_gpu: bool) -> Any:
    plain, source = _mapped(_unwrap, args), args[-1] if func.overloadpacket is aten.copy_ else args[0]
    into = isinstance(args[0], GpuTensor) if func.overloadpacket is aten.copy_ else to_gpu
    how = {key: value for key, value in kwargs.items() if key != "device"}
    found = func(*plain, **how)
    if into != isinstance(source, GpuTensor):
        COUNTS.copies["to the GPU" if into else "to the CPU"] += 1
        _synchronise("copy")
    elif into:
        COUNTS.launches["copy"] += 1
        COUNTS.operations.append("copy")
        for graph in CAPTURES:
            graph.record(func, plain, how, found)
    if func.overloadpacket is aten.copy_:
        return args[0]
    return GpuTensor(found) if into else found


def _tf32(value: Any) -> Any:
    """A float32 tensor rounded to TF32's 10 bits of mantissa."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    bits = value.contiguous().view(torch.int32)
    return ((bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32).view(value.shape)


class _Everywhere(TorchDispatchMode):
    """Catches factories and ``.to``, whose arguments need not be on the GPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        device = kwargs.get("device")
        gpu = any(isinstance(leaf, GpuTensor) for leaf in _leaves((args, kwargs)))
        if gpu or (device is not None and torch.device(device).type in ("cuda", "meta")):
            return _dispatch(func, args, kwargs)
        return func(*args, **kwargs)


@contextmanager
def pretend_gpu() -> Iterator[Counts]:
    """Inside the block there is one GPU, ``cuda:0``; what is done on it is counted from zero."""
    reset()
    fakes = {
        "is_available": lambda: True,
        "max_memory_allocated": lambda device=None: 0,
        "get_device_name": lambda device=None: "pretend GPU",
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda device=None: None,
        "set_sync_debug_mode": lambda mode: None,
        "synchronize": lambda device=None: None,
        "_lazy_init": lambda: None,
        "current_device": lambda: 0,
        "device_count": lambda: 1,
        "get_device_properties": lambda device=None: SimpleNamespace(total_memory=MEMORY),
    }
    overwrite = torch.__future__.get_overwrite_module_params_on_conversion()
    lift = torch._C._only_lift_cpu_tensors()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with (
            mock.patch.multiple(torch.cuda, **fakes),
            torch.autograd.set_multithreading_enabled(False),
            _Everywhere(),
        ):
            yield COUNTS
    finally:
        torch._C._set_only_lift_cpu_tensors(lift)
        torch.__future__.set_overwrite_module_params_on_conversion(overwrite)
