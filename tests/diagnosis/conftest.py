"""A machine made of stand-ins, from which each test takes one thing away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter
from envbuilder.config.settings import Settings
from envbuilder.diagnosis import diagnose, requirements
from envbuilder.diagnosis.diagnose import Diagnosis
from envbuilder.diagnosis.machine import Disk
from envbuilder.diagnosis.requirements import Ability
from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.index_server import Index, Trouble

LOCKED = LockedInterpreter(version="3.12.1", origin="host", digest="1" * 64)


TORCH = Artifact(
    name="torch",
    version="2.7.1+cu126",
    filename="torch-2.7.1+cu126-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256="a" * 64,
    size=800_000_000,
)


NUMPY = Artifact(
    name="numpy",
    version="2.3.5",
    filename="numpy-2.3.5-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256="b" * 64,
    size=16_000_000,
)


class StandIn:
    """A machine on which everything is in order, until a test takes something away."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index
        self.house = folder / "house"
        self.programs = folder / "bin"
        for new in (self.house, self.programs):
            new.mkdir()
        self.program("g++", 'echo "g++ 12"')
        path = folder / "gpu.yaml"
        path.write_text('triton: "25.06"\ntorch: "2.7.1"\ncuda: cu126\ndependencies: [numpy]\n')
        self.recipe = load_recipe(path)
        self.lock = Lock(
            recipe="gpu",
            recipe_digest=self.recipe.digest(),
            release="25.06",
            python="3.12",
            torch="2.7.1+cu126",
            cuda="cu126",
            demands=("numpy",),
            artifacts=(NUMPY, TORCH),
            interpreter=LOCKED,
            tools=(("uv", "0.8.0"),),
        )
        self.settings = Settings(
            find_links=(str(self.house),), index_url=index.url, pytorch_index=f"{index.base}/whl"
        )
        self.store = Store(root=folder / "store")
        self.interpreters = [
            Interpreter(
                version="3.12.1",
                prefix=Path("/opt/python"),
                executable=Path("/opt/python/bin/python3.12"),
                stdlib=Path("/opt/python/lib/python3.12"),
                include=Path("/opt/python/include/python3.12"),
                libpython=Path("/opt/python/lib/libpython3.12.so.1.0"),
                prefixes=(),
                built_at=(),
                origin="host",
            )
        ]
        self.refused = [
            "/usr/bin/python3.12: the distribution's own Python, whose library is spread across /usr"
        ]
        self.described = LOCKED
        self.free = 10**12
        self.glibc = "2.39"

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def diagnose(self, *recipes: Recipe) -> Diagnosis:
        if not lock_path(self.recipe).exists():
            write_lock(self.lock, lock_path(self.recipe))
        environ = {"PATH": str(self.programs)}
        return diagnose.doctor(
            recipes or [self.recipe],
            Session(settings=self.settings, store=self.store),
            output=self.folder / "envs",
            environ=environ,
        )

    def can(self, verb: str) -> Ability:
        [one] = self.diagnose().recipes
        [ability] = [ability for ability in one.abilities if ability.verb == verb]
        return ability


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as index:
        yield index


@pytest.fixture
def stand_in(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path, index)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PATH", str(made.programs))
    monkeypatch.setattr(diagnose, "find_interpreters", lambda minor: (made.interpreters, made.refused))
    monkeypatch.setattr(requirements, "describe", lambda interpreter: made.described)
    monkeypatch.setattr(
        diagnose, "free_space", lambda use, folder: Disk(use=use, folder=folder, free=made.free)
    )
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", made.glibc))
    return made


def gone(index: Index, *paths: str) -> None:
    """Let the index answer 500 to *paths*."""
    for path in paths:
        index.troubles[path] = [Trouble(status=500)] * 50


def conda_recipe(folder: Path, *channels: str) -> Recipe:
    path = folder / "conda.yaml"
    path.write_text(
        'triton: "25.06"\ntorch: "2.7.1"\ncuda: pypi\nprovider: conda\n'
        f"channels: [{', '.join(channels)}]\nconda: [tool]\n"
    )
    return load_recipe(path)
