"""Choose the base for a lock, and open it for a build."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from envbuilder.archive.segment import FileFacts
from envbuilder.base.interpreter import Interpreter, describe, find_interpreter
from envbuilder.base.provider import Provider
from envbuilder.base.providers import PROVIDERS, LockedBase
from envbuilder.errors import AssembleError, IntegrityError, PluginError
from envbuilder.lockfile.model import Lock
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session

_COMPILERS: Final = {
    "CC": ("bin/gcc", "bin/x86_64-conda-linux-gnu-gcc", "bin/x86_64-conda-linux-gnu-cc"),
    "CXX": ("bin/g++", "bin/x86_64-conda-linux-gnu-g++", "bin/x86_64-conda-linux-gnu-c++"),
}
"""Paths of a channel's compiler; the first that exists is used."""


def lock_base(recipe: Recipe, session: Session, *, previous: Lock | None, upgrade: Upgrade) -> LockedBase:
    """Ask the recipe's provider for its base, see :class:`~envbuilder.base.providers.BaseProvider`.

    Raises:
        RecipeError: the provider is unknown.
        PluginError: it cannot be used.
    """
    base = PROVIDERS.get(recipe.provider).lock(recipe, session, previous=previous, upgrade=upgrade)
    if base.interpreter.provider != recipe.provider:
        raise PluginError(
            f"the provider {recipe.provider!r} locked an interpreter whose origin is {base.interpreter.origin!r}; "
            f"expected '{recipe.provider}:…'",
            hint="update or uninstall it",
        )
    return base


@contextmanager
def open_base(recipe: Recipe, lock: Lock, session: Session, *, change: bool) -> Iterator[Provider]:
    """Yield the base of *lock*; with *change* another CPython may replace the locked one.

    Raises:
        RecipeError: the provider is unknown.
        PluginError: it cannot be used.
        IntegrityError: this machine's interpreter is not the locked one.
        AssembleError: there is none.
    """
    with PROVIDERS.get(lock.interpreter.provider).open(recipe, lock, session, change=change) as base:
        yield base


def find_compiler(files: Iterable[FileFacts]) -> dict[str, str]:
    """Return ``CC`` and ``CXX`` of a base with *files*: paths in the environment.

    Raises:
        AssembleError: the base has none, though the recipe says ``compiler: bundled``.
    """
    paths = {file.path for file in files}
    found = {}
    for name, places in _COMPILERS.items():
        place = next((place for place in places if place in paths), None)
        if place is None:
            raise AssembleError(
                f"`compiler: bundled`, but the conda packages contain none of {', '.join(places)}",
                hint="expected it in the channel's package gxx",
            )
        found[name] = place
    return found


def choose_interpreter(lock: Lock, change: bool, session: Session) -> Interpreter:
    """Return this machine's interpreter for *lock*; with *change* another than the locked one is accepted.

    Raises:
        IntegrityError: it is not the locked one.
        AssembleError: there is none.
    """
    interpreter = find_interpreter(
        lock.python, locked=lock.interpreter, store=session.store, reporter=session.reporter
    )
    here, locked = describe(interpreter), lock.interpreter
    if here.digest != locked.digest:
        text = (
            f"the lock was made with CPython {locked.version} ({locked.origin}, {locked.digest[:12]}), "
            f"this machine has {here.version} ({here.origin}, {here.digest[:12]}) in {interpreter.prefix}"
        )
        if not change:
            raise IntegrityError(
                text, hint="install the locked one, or use this one with --interpreter-change, or lock again"
            )
        session.reporter.note(f"{text}: used, as --interpreter-change allows")
    return interpreter
