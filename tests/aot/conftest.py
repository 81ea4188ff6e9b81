"""The runtime in this process, and the script that compiles for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.compiling import DEPENDS_ON_DATA, Inside, compiling, net, packaged
from tests.runtime.conftest import _process, pb, serve

__all__ = ["_process", "compiling", "packaged", "pb", "serve"]
DESCRIBED = {**net(), "input": net()["input"][:1]}


@pytest.fixture(scope="session")
def cached(once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A model that cannot be exported, with its caches. Not to be written to."""

    def fill(folder: Path) -> None:
        (folder / "net" / "1").mkdir(parents=True)
        (folder / "net" / "1" / "model.py").write_text(DEPENDS_ON_DATA)
        found = Inside(folder / "compiling").run(folder / "net", DESCRIBED, task="caches")
        assert found["devices"]["CPU"]["file"] == "compiled.cpu.zip", found

    return once("cached", fill) / "net"
