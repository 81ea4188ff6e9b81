"""The stand-in in this process, as the runtime's tests have it."""

from __future__ import annotations

from tests.runtime.conftest import _process, pb

__all__ = ["_process", "pb"]
