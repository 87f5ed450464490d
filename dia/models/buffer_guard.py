"""Buffers that a forward pass changes: running statistics, power iterations of spectral_norm, counters.

A gradient is compared with another at the same state of the model, so every pass must begin with the buffers that the
server sent out, whatever was computed before: neither another victim's pass nor the client's own may show.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

State = list[Tensor]
"""One tensor per buffer, in the order of the guard."""


class BufferGuard:
    """Lets every call of ``model`` begin with the same buffers, and keeps those that the last call ended with.

    A pass works on copies, so that a graph that was built on them stays valid. A model whose buffers nothing changes
    costs nothing (:meth:`release_if_unchanged`).

    Attributes:
        end: The buffers as the last call left them, detached.
    """

    def __init__(self, model: nn.Module) -> None:
        self._slots = [
            (module._buffers, key)
            for module in model.modules()
            for key, buffer in module._buffers.items()
            if buffer is not None
        ]
        self._start: State | None = None
        self._saved: State = []
        self.end: State = []
        self._hooks = []
        if self._slots:
            self._hooks = [
                model.register_forward_pre_hook(self._enter),
                model.register_forward_hook(self._leave, always_call=True),
            ]

    @property
    def buffers(self) -> State:
        """The buffers that every call begins with."""
        return [buffers[key] for buffers, key in self._slots]  # type: ignore[misc]

    def set(self, state: State) -> None:
        """Let every call begin with these from now on."""
        for (buffers, key), value in zip(self._slots, state, strict=True):
            buffers[key] = value

    def changed(self) -> bool:
        """Tell whether the last call changed a buffer."""
        return any(
            a.shape != b.shape or not bool((a == b).all())
            for a, b in zip(self.end, self.buffers, strict=False)
        )

    @contextmanager
    def starting_from(self, state: State | None) -> Iterator[None]:
        """Inside the block calls begin with ``state``; None for the model's own buffers."""
        self._start = state
        try:
            yield
        finally:
            self._start = None

    def release_if_unchanged(self) -> None:
        """Guard no longer if the last call left all buffers as they were."""
        if not self.changed():
            self.remove()
            self._slots, self.end = [], []

    def remove(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()

    def _enter(self, model: nn.Module, args: Any) -> None:
        self._saved = self.buffers
        copies: dict[int, Tensor] = {}  # one buffer under two names stays one
        for (buffers, key), value in zip(self._slots, self._start or self._saved, strict=True):
            buffers[key] = copies.setdefault(id(value), value.clone())

    def _leave(self, model: nn.Module, args: Any, output: Any) -> None:
        self.end = [buffer.detach() for buffer in self.buffers]
        self.set(self._saved)
