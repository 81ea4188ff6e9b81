"""Which base a lock names, and which one a build takes."""

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
"""Where a channel's compiler lies: what is there first counts."""


def lock_base(recipe: Recipe, session: Session, *, previous: Lock | None, upgrade: Upgrade) -> LockedBase:
    """Let the recipe's provider choose its base, see :class:`~envbuilder.base.providers.BaseProvider`.

    Raises:
        RecipeError: there is no such provider.
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
    """Give the base of *lock*; with *change* another CPython may stand in for the locked one.

    Raises:
        RecipeError: there is no such provider.
        PluginError: it cannot be used.
        IntegrityError: this machine's interpreter is not the locked one.
        AssembleError: there is none.
    """
    with PROVIDERS.get(lock.interpreter.provider).open(recipe, lock, session, change=change) as base:
        yield base


def find_compiler(files: Iterable[FileFacts]) -> dict[str, str]:
    """Return ``CC`` and ``CXX`` of a base with *files*: paths in the environment.

    Raises:
        AssembleError: there is none, though the recipe wants it bundled.
    """
    paths = {file.path for file in files}
    found = {}
    for name, places in _COMPILERS.items():
        place = next((place for place in places if place in paths), None)
        if place is None:
            raise AssembleError(
                f"`compiler: bundled`, but the conda packages have none of {', '.join(places)}",
                hint="the channel's package gxx should bring it",
            )
        found[name] = place
    return found


def choose_interpreter(lock: Lock, change: bool, session: Session) -> Interpreter:
    """Return this machine's interpreter for *lock*: with *change* also one that is not the locked one.

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
                text, hint="install the locked one, or take this one with --interpreter-change, or lock again"
            )
        session.reporter.note(f"{text}: taken, as --interpreter-change allows")
    return interpreter
