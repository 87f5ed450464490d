"""A function of tensors as one graph, through its backward passes, compiled by torch's inductor and kept on disk."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, fx
from torch.func import functionalize

Function = Callable[..., list[Tensor]]


def compiled(function: Function, inputs: Sequence[Tensor], cache: Path) -> Function:
    """``function`` of tensors of these shapes and strides, compiled; it may differentiate, and must not branch.

    A process that finds the graph in the cache compiles nothing; of several that need it at the same time one
    compiles, and the others wait. The cache is inductor's own: its key is the graph itself, with torch's version and
    the processor's abilities, and its files are written whole or not at all.

    Args:
        function: Must reach no tensor but its inputs, other than small constants.
        inputs: An example; kept by nobody.
        cache: Folder of compiled graphs.

    Raises:
        Exception: Of torch, of many kinds: an operation cannot be traced, or there is no compiler.
    """
    from torch._inductor.compile_fx import compile_fx_inner  # takes seconds, which most cells need not wait

    with torch.no_grad():
        graph = _traced(function, inputs)
        with _settings(cache), FileLock(cache / "compiling.lock"):
            run = compile_fx_inner(graph, list(inputs))

    def call(*tensors: Tensor) -> list[Tensor]:
        with torch.no_grad():
            return list(run(list(tensors)))

    return call


def _traced(function: Function, inputs: Sequence[Tensor]) -> fx.GraphModule:
    """The operations of ``function``, its backward passes among them, none of them in place."""
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.enable_grad():
        recorded = make_fx(function)(*inputs)
    return make_fx(functionalize(recorded), decomposition_table=select_decomp_table())(*inputs)


@contextmanager
def _settings(cache: Path) -> Iterator[None]:
    """Inductor's settings, and its cache in ``cache``."""
    from torch._inductor import config

    cache.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
    try:
        settings = {
            "cpp.threads": torch.get_num_threads(),  # part of the code that is generated, and so of the key
            "compile_threads": 1,  # each job has its own cores
            "cpp_cache_precompile_headers": shutil.which("openssl")
            is not None,  # torch hashes headers with it
        }
        with config.patch(settings):
            yield
    finally:
        if before is None:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
        else:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = before
