"""The stand-in in this process, as the runtime's tests have it."""

from __future__ import annotations

from tests.helpers.compiling import compiling, packaged
from tests.runtime.conftest import _process, pb, serve

__all__ = ["_process", "compiling", "packaged", "pb", "serve"]
