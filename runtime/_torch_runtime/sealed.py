"""Serve what torch.compile has compiled, and compile no more: a request must not wait for a compiler."""

from __future__ import annotations

from typing import Any, Callable

import torch

UNCOMPILED: Any = object()
"""The result of a call for which nothing was compiled."""
MOST_SHAPES = 4096
"""How many input shapes are remembered."""


class Seal:
    """Runs compiled code, and keeps Dynamo from compiling until it is opened.

    torch 2.6 and later have a stance that runs compiled functions, and others eagerly
    (``torch.compiler.set_stance("eager_on_recompile")``). It is set once, as setting it for each call costs 10 to
    20 microseconds. Whether a shape needs eager functions is determined once, in the stance that raises an error
    instead. Older releases can only raise an error.
    """

    def __init__(self) -> None:
        self._stance: Any = getattr(torch.compiler, "set_stance", None)
        self._denied: dict[Any, bool] = {}
        self._last = False
        if self._stance is not None:
            self._stance("eager_on_recompile")
        else:
            import torch._dynamo.config as settings

            settings.error_on_recompile = True

    def open(self) -> None:
        """Let Dynamo compile again."""
        if self._stance is not None:
            self._stance("default")
        else:
            import torch._dynamo.config as settings

            settings.error_on_recompile = False

    def call(self, compiled: Callable[[], Any], tensors: list[Any]) -> Any:
        """Return the result of *compiled* for *tensors*; UNCOMPILED: the uncompiled model has to answer."""
        shapes = tuple([None if value is None else getattr(value, "shape", None) for value in tensors])
        denied = self._denied.get(shapes)
        if denied is None:
            if len(self._denied) >= MOST_SHAPES:
                self._denied.clear()
            return self._try(compiled, shapes)
        self._last = denied
        return UNCOMPILED if denied and self._stance is None else compiled()

    def _try(self, compiled: Callable[[], Any], shapes: Any) -> Any:
        try:
            if self._stance is None:
                result = compiled()
            else:
                with self._stance("fail_on_recompile"):
                    result = compiled()
        except Exception as error:
            if "recompil" not in f"{type(error).__name__} {error}".lower():
                raise  # the model's own
            self._denied[shapes] = self._last = True
            return UNCOMPILED
        self._denied[shapes] = self._last = False
        return result

    def take_denied(self) -> bool:
        """Return whether the last call ran partly or fully uncompiled."""
        last, self._last = self._last, False
        return last
