"""``envbuilder doctor``: what this machine can lock, build and verify, and what is missing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envbuilder.base.interpreter import Interpreter, find_interpreters
from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.config.channels import Channel, channels_of
from envbuilder.diagnosis.machine import (
    PACKAGE_INDEX,
    Compiler,
    Disk,
    Gpu,
    Route,
    check_routes,
    find_compilers,
    find_gpus,
    free_space,
)
from envbuilder.diagnosis.requirements import Ability, Machine, ServerFinding
from envbuilder.errors import EnvbuilderError
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.verification.server.tritonserver import SERVER_WHEEL, find_server

Table = tuple[str, Sequence[str], Sequence[tuple[str, ...]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundInterpreter:
    """A CPython on this machine."""

    minor: str
    version: str
    place: str
    usable: bool
    detail: str
    """Its origin, or why it cannot be used for an environment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeDiagnosis:
    """What this machine can do with one recipe."""

    recipe: str
    abilities: tuple[Ability, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What this machine has, and what it can do."""

    interpreters: tuple[FoundInterpreter, ...]
    compilers: tuple[Compiler, ...]
    server: ServerFinding
    gpus: tuple[Gpu, ...]
    disks: tuple[Disk, ...]
    routes: tuple[Route, ...]
    recipes: tuple[RecipeDiagnosis, ...] = field(default=())

    def tables(self) -> Iterator[Table]:
        """Return tables for display: title, headings, rows."""
        rows = [
            (i.minor, i.version, i.place, f"usable ({i.detail})" if i.usable else i.detail)
            for i in self.interpreters
        ]
        yield "Interpreters", ["Python", "version", "place", "detail"], rows or [("none", "", "", "")]
        yield "Machine", ["what", "found", "detail"], [*self._machine()]
        routes = [(r.kind, r.place, "yes" if r.answers else "no", r.detail) for r in self.routes]
        yield "Sources", ["kind", "place", "answers", "detail"], routes
        if not self.recipes:
            return
        yield (
            "Recipes",
            ["recipe", "lock", "build", "verify"],
            [(one.recipe, *("yes" if a.possible else "no" for a in one.abilities)) for one in self.recipes],
        )
        said = [
            (one.recipe, ability.verb, kind, text)
            for one in self.recipes
            for ability in one.abilities
            for kind, texts in (("missing", ability.missing), ("note", ability.notes))
            for text in texts
        ]
        if said:
            yield "What is missing, and what is worth knowing", ["recipe", "verb", "", "detail"], said

    def _machine(self) -> Iterator[tuple[str, str, str]]:
        for compiler in self.compilers:
            yield "C++ compiler", str(compiler.path), compiler.problem or compiler.version
        if not self.compilers:
            yield "C++ compiler", "none", "torch.compile on a CPU needs one"
        yield "tritonserver", self.server.source or "none", self.server.detail
        for gpu in self.gpus:
            yield "GPU", gpu.name, f"driver {gpu.driver}, {gpu.memory} MiB"
        if not self.gpus:
            yield "GPU", "none", "nvidia-smi lists none"
        for disk in self.disks:
            yield f"disk for the {disk.use}", str(disk.folder), f"{disk.free / 1e9:.1f} GB free"


def doctor(
    recipes: Sequence[Recipe],
    session: Session,
    *,
    output: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Diagnosis:
    """Examine this machine, and the requirements of *recipes* on it. Changes and downloads nothing.

    *output* is the folder for archives (default: ``envs`` in the current one).

    Raises:
        RecipeError: the certificates of *session* are invalid.
    """
    ours = [recipe.python for recipe in recipes if recipe.provider == "cpython"]
    minors = dict.fromkeys(ours if recipes else find_release(PYTRITON).pythons)
    found = {minor: find_interpreters(minor) for minor in minors}
    variants = dict.fromkeys([recipe.cuda for recipe in recipes if recipe.cuda != "pypi"] or ["cpu"])
    channels, problems = _channels(recipes)
    routes = check_routes(session.settings, variants, channels)
    machine = Machine(
        interpreters={minor: usable for minor, (usable, _) in found.items()},
        compilers=find_compilers(environ),
        server=_server(session, routes),
        gpus=find_gpus(environ),
        disks=(
            free_space("store", session.store.writable),
            free_space("archives", output or Path.cwd() / "envs"),
        ),
        routes=routes,
        channels=problems,
        settings=session.settings,
        store=session.store,
    )
    return Diagnosis(
        interpreters=tuple(_listed(found)),
        compilers=machine.compilers,
        server=machine.server,
        gpus=machine.gpus,
        disks=machine.disks,
        routes=routes,
        recipes=tuple(
            RecipeDiagnosis(
                recipe=recipe.name,
                abilities=(machine.can_lock(recipe), machine.can_build(recipe), machine.can_verify(recipe)),
            )
            for recipe in recipes
        ),
    )


def _channels(recipes: Sequence[Recipe]) -> tuple[list[Channel], dict[str, str]]:
    """Return the channels of *recipes*, each once, and the errors in a recipe's channels by its name."""
    found: dict[str, Channel] = {}
    problems = {}
    for recipe in recipes:
        try:
            found.update({channel.name: channel for channel in channels_of(recipe)})
        except EnvbuilderError as error:
            problems[recipe.name] = error.message
    return list(found.values()), problems


def _listed(found: Mapping[str, tuple[list[Interpreter], list[str]]]) -> Iterator[FoundInterpreter]:
    for minor, (usable, refused) in found.items():
        for one in usable:
            yield FoundInterpreter(
                minor=minor, version=one.version, place=str(one.prefix), usable=True, detail=one.origin
            )
        for line in refused:
            place, _, why = line.partition(": ")
            yield FoundInterpreter(minor=minor, version="", place=place, usable=False, detail=why)


def _server(session: Session, routes: Sequence[Route]) -> ServerFinding:
    wheel_pythons = find_release(PYTRITON).pythons
    try:
        server = find_server(None, session, fetch=False)
    except EnvbuilderError as error:
        broken = error
    else:
        source = "PATH" if server.release is None else "store"
        return ServerFinding(source=source, detail=server.describe(), pythons=tuple(server.stubs))
    if shutil.which("tritonserver") is not None:  # it takes precedence, and cannot be used
        return ServerFinding(source=None, detail=broken.message, pythons=())
    what = f"{PYTRITON} ({SERVER_WHEEL.filename}, {SERVER_WHEEL.size / 1e6:.0f} MB), to be fetched once"
    for route in routes:
        has_it = SERVER_WHEEL.filename in route.filenames or route.kind == PACKAGE_INDEX
        if route.answers and has_it:
            return ServerFinding(source=route.kind, detail=what, pythons=wheel_pythons)
    return ServerFinding(
        source=None, detail="none on PATH, none in the store, and no source for one", pythons=()
    )
