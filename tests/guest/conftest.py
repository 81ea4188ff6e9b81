"""The stand-in in this process, as the runtime's tests have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from envbuilder.guest import host
from tests.helpers.compiling import compiling, packaged
from tests.runtime.conftest import _process, pb, serve

__all__ = ["_process", "compiling", "packaged", "pb", "serve"]


@pytest.fixture(autouse=True)
def _whole_stand_in() -> Iterator[None]:
    """Give the stand-in back what a probe in this process hides from its model."""
    import triton_python_backend_utils as standin

    before, names = dict(vars(standin)), list(standin.__all__)
    yield
    vars(standin).update(before)
    standin.__all__[:] = names
    host.hosting.clear()
