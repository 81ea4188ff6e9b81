"""Compare a recipe's requirements for locking, building and verifying with this machine."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.catalog.torch import find_build
from envbuilder.config.settings import TORCH_FAMILY, Settings
from envbuilder.diagnosis.machine import (
    CONDA_CHANNEL,
    PACKAGE_INDEX,
    PYTORCH_INDEX,
    WHEELHOUSE,
    Compiler,
    Disk,
    Gpu,
    Route,
)
from envbuilder.errors import EnvbuilderError
from envbuilder.lockfile.check import check_lock, with_wheelhouse
from envbuilder.lockfile.model import Artifact, CondaPackage, Lock
from envbuilder.recipe.channels import channel_name
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.util.rattler import rattler
from envbuilder.util.text import counted

_SPARE_BYTES = 2**30
"""Disk space in addition to downloads: segments, and temporary folders."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerFinding:
    """The source of a tritonserver."""

    source: str | None
    """``PATH``, ``store``, ``wheelhouse`` or ``package index``; None: none available."""
    detail: str
    pythons: tuple[str, ...]
    """Minor versions of Python for which it has a stub."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ability:
    """Whether this machine can do one thing with a recipe."""

    verb: str
    """``lock``, ``build`` or ``verify``."""
    missing: tuple[str, ...]
    """What is missing, each with what to do; empty if possible."""
    notes: tuple[str, ...] = ()
    """Notes that do not prevent it."""

    @property
    def possible(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """The facts of this machine."""

    interpreters: Mapping[str, list[Interpreter]]
    compilers: tuple[Compiler, ...]
    server: ServerFinding
    gpus: tuple[Gpu, ...]
    disks: tuple[Disk, ...]
    routes: tuple[Route, ...]
    channels: Mapping[str, str]
    """Errors in a recipe's channels, by the recipe's name."""
    settings: Settings
    store: Store

    def can_lock(self, recipe: Recipe) -> Ability:
        """Return whether *recipe* can be resolved here."""
        missing, notes = self._interpreter(recipe)
        houses = [route for route in self.routes if route.kind == WHEELHOUSE]
        missing += [
            f"wheelhouse {house.place}: {house.detail}; create it, or take it out of the settings"
            for house in houses
            if not house.answers
        ]
        if not self._answers(PACKAGE_INDEX) and not houses:
            missing.append(self._no_route(PACKAGE_INDEX))
        prefix = f"torch-{recipe.torch_version}-cp{recipe.python.replace('.', '')}-"
        in_house = any(unquote(name).startswith(prefix) for house in houses for name in house.filenames)
        if recipe.cuda != "pypi" and not in_house and not self._answers(PYTORCH_INDEX, recipe.cuda):
            missing.append(f"torch {recipe.torch_version}: {self._no_route(PYTORCH_INDEX, recipe.cuda)}")
        return Ability(verb="lock", missing=tuple(missing), notes=tuple(notes))

    def can_build(self, recipe: Recipe) -> Ability:
        """Return whether the archive of the lock of *recipe* can be built here."""
        missing, notes = self._interpreter(recipe)
        try:
            lock = check_lock(recipe)
        except EnvbuilderError as error:
            missing.append(error.message + (f"; {error.hint}" if error.hint else ""))
            return Ability(verb="build", missing=tuple(missing), notes=tuple(notes))
        usable = self.interpreters.get(recipe.python, [])
        if (
            lock.conda is None
            and usable
            and not any(describe(one).digest == lock.interpreter.digest for one in usable)
        ):
            notes.append(
                f"the lock was made with another CPython {lock.interpreter.version} ({lock.interpreter.origin}): "
                "building needs --interpreter-change"
            )
        absent = self._absent(recipe, lock)
        missing += self._unreachable(recipe, lock, absent)
        archive = sum(artifact.size for artifact in lock.all_artifacts)
        downloads = sum(artifact.size for artifact in absent)
        needs = {"store": downloads + _SPARE_BYTES, "archives": archive}
        missing += [
            f"disk space for the {disk.use} in {disk.folder}: {needs[disk.use] / 1e9:.1f} GB needed, "
            f"{disk.free / 1e9:.1f} GB free"
            for disk in self.disks
            if disk.free < needs[disk.use]
        ]
        if absent:
            notes.append(f"{counted(len(absent), 'artifact')}, {downloads / 1e6:.0f} MB, to be fetched")
        return Ability(verb="build", missing=tuple(missing), notes=tuple(notes))

    def can_verify(self, recipe: Recipe) -> Ability:
        """Return whether an archive of *recipe* can be verified here."""
        missing: list[str] = []
        notes: list[str] = []
        if recipe.compiler != "bundled" and all(compiler.problem for compiler in self.compilers):
            why = "".join(f" ({compiler.path}: {compiler.problem})" for compiler in self.compilers)
            missing.append(f"a C++ compiler with OpenMP{why}; for instance: apt-get install g++")
        if recipe.verify.server and recipe.python not in self.server.pythons:
            has = ", ".join(self.server.pythons)
            why = f"its stubs are for Python {has}" if has else self.server.detail
            notes.append(f"without a server: {why}; name one with --tritonserver")
        build = find_build(recipe.torch)
        cuda = build.pypi if recipe.cuda == "pypi" and build is not None else _dotted(recipe.cuda)
        if cuda is not None and not self.gpus:
            notes.append("no NVIDIA GPU: what runs on one is not verified")
        for gpu in self.gpus if cuda is not None else ():
            if floor := gpu.too_old_for(cuda or ""):
                missing.append(f"driver {floor} or later for CUDA {cuda} ({gpu.name} has {gpu.driver})")
        host, image = platform.libc_ver()[1], recipe.release.glibc
        if image and host and _number(host) < _number(image):
            notes.append(
                f"glibc {host} is older than the image's {image}: a wheel that needs that cannot run here"
            )
        return Ability(verb="verify", missing=tuple(missing), notes=tuple(notes))

    def _interpreter(self, recipe: Recipe) -> tuple[list[str], list[str]]:
        """Return what is missing for the interpreter or for conda packages, and notes."""
        if recipe.provider == "conda":
            return [*self._conda(recipe)], []
        if recipe.provider != "cpython":
            return [], [f"the base comes from the provider {recipe.provider}: not looked at"]
        if self.interpreters[recipe.python]:
            return [], []
        if self._answers(PACKAGE_INDEX):
            return [], [f"no usable CPython {recipe.python} here: uv installs one"]
        return [
            f"CPython {recipe.python} with a shared libpython; for instance: "
            f"PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install {recipe.python}"
        ], []

    def _conda(self, recipe: Recipe) -> Iterator[str]:
        try:
            rattler()
        except EnvbuilderError as error:
            yield f"py-rattler, which reads channels: {error.hint}"
        if recipe.name in self.channels:
            yield self.channels[recipe.name]
            return
        for name in recipe.channels:
            routes = self._routes(CONDA_CHANNEL, channel_name(name))
            if not any(route.answers for route in routes):
                why = "; ".join(f"{route.place}: {route.detail}" for route in routes)
                yield f"channel {channel_name(name)} does not answer ({why})"

    def _absent(self, recipe: Recipe, lock: Lock) -> list[Artifact]:
        """List the artifacts that are neither in the store nor in a wheelhouse on this machine."""
        links = with_wheelhouse(recipe, self.settings).find_links
        names: set[str] = set()
        for link in links:
            with contextlib.suppress(OSError):  # not a folder: a page of links
                names.update(unquote(name) for name in os.listdir(link))
        return [
            artifact
            for artifact in lock.all_artifacts
            if self.store.find_artifact(artifact.sha256, artifact.size) is None
            and artifact.filename not in names
        ]

    def _unreachable(self, recipe: Recipe, lock: Lock, absent: Sequence[Artifact]) -> Iterator[str]:
        """Return which of *absent* have no source."""
        built = dict(lock.built)
        for artifact in absent:
            if artifact.name in built:
                yield f"{artifact.filename}: no index has it; take the wheelhouse beside the lock along"
        wheels = [a for a in absent if not isinstance(a, CondaPackage)]
        family = [a for a in wheels if recipe.cuda != "pypi" and a.name in TORCH_FAMILY]
        others = [a for a in wheels if a not in family and a.name not in built]
        if family and not self._answers(PYTORCH_INDEX, recipe.cuda):
            yield f"{counted(len(family), 'artifact')}: {self._no_route(PYTORCH_INDEX, recipe.cuda)}"
        if others and not self._answers(PACKAGE_INDEX):
            yield f"{counted(len(others), 'artifact')}: {self._no_route(PACKAGE_INDEX)}"

    def _answers(self, kind: str, variant: str = "") -> bool:
        return any(route.answers for route in self._routes(kind, variant))

    def _no_route(self, kind: str, variant: str = "") -> str:
        why = "; ".join(f"{route.place}: {route.detail}" for route in self._routes(kind, variant))
        return f"no {kind} answers ({why or 'none is configured'}); a wheelhouse (--find-links) does as well"

    def _routes(self, kind: str, variant: str) -> list[Route]:
        return [route for route in self.routes if route.kind == kind and route.variant == variant]


def _dotted(cuda: str) -> str | None:
    """Return ``12.6`` for ``cu126``; None if it is not a CUDA variant."""
    return f"{cuda[2:-1]}.{cuda[-1]}" if cuda.startswith("cu") and cuda[2:].isdigit() else None


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
