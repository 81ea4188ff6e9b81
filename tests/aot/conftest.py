"""The runtime in this process, the script that compiles for it, and models beside a small archive."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.deployment.compiled import KEY_FILE
from tests.deployment.conftest import archive, make_manifest, model
from tests.helpers.compiling import DEPENDS_ON_DATA, Inside, compiling, net, packaged
from tests.runtime.conftest import _process, pb, serve

__all__ = ["_process", "archive", "compiling", "model", "packaged", "pb", "serve"]
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


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An unpacked environment whose interpreter is the one that runs the tests, and its torch."""
    folder = tmp_path / "here"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "activate").write_text("")
    (folder / "bin" / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "bin" / "python3").chmod(0o755)
    (folder / MANIFEST_PATH).parent.mkdir(parents=True)
    (folder / MANIFEST_PATH).write_text(make_manifest(release="pytriton-0.7.0", python="3.11").text())
    return folder


def write_package(version: Path, made_of: str, *, kind: str = "CPU", name: str = "compiled.cpu.pt2") -> Path:
    """Write what says that it is compiled code made of *made_of*."""
    version.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(version / name, "w") as file:
        file.writestr(KEY_FILE, json.dumps({"made of": made_of, "kind": kind}))
    return version / name
