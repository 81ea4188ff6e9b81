"""The built-in providers, see :class:`envbuilder.base.providers.BaseProvider`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from envbuilder.base.choose import choose_interpreter
from envbuilder.base.conda import CondaBase
from envbuilder.base.conda_projects import find_projects
from envbuilder.base.conda_solver import conda_interpreter, solve_conda
from envbuilder.base.cpython import CPythonBase
from envbuilder.base.interpreter import describe, find_interpreter
from envbuilder.base.provider import Provider
from envbuilder.base.providers import LockedBase
from envbuilder.config.channels import channels_of
from envbuilder.fetch.artifacts import fetch_packages
from envbuilder.fetch.beside import with_files_beside
from envbuilder.lockfile.model import CondaPackage, Lock
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session


class CPythonProvider:
    """A CPython of this machine, relocated."""

    def lock(
        self, recipe: Recipe, session: Session, *, previous: Lock | None, upgrade: Upgrade
    ) -> LockedBase:
        """Keep the interpreter of *previous*, which this machine need not have, or choose this machine's."""
        kept = None if previous is None else previous.interpreter
        if (
            previous is not None
            and kept is not None
            and (kept.provider, previous.python) == ("cpython", recipe.python)
            and not upgrade.takes("python")
        ):
            return LockedBase(interpreter=kept)
        return LockedBase(interpreter=describe(find_interpreter(recipe.python, reporter=session.reporter)))

    @contextmanager
    def open(self, recipe: Recipe, lock: Lock, session: Session, *, change: bool) -> Iterator[Provider]:
        """Yield this machine's CPython."""
        yield CPythonBase(found=choose_interpreter(lock, change, session))


class CondaProvider:
    """Packages of conda channels, installed into a prefix."""

    def lock(
        self, recipe: Recipe, session: Session, *, previous: Lock | None, upgrade: Upgrade
    ) -> LockedBase:
        """Solve the recipe's match specs, and find the Python projects in the packages."""
        before = previous.conda.packages if previous is not None and previous.conda is not None else ()
        kept = [package for package in before if not upgrade.takes(package.name)]
        solved = solve_conda(recipe, session, keep=kept)
        channels, sources = channels_of(recipe), with_files_beside(recipe, session)
        return LockedBase(
            interpreter=conda_interpreter(solved.packages),
            packages=solved.packages,
            provided=find_projects(solved.python, recipe.python, channels, sources),
        )

    @contextmanager
    def open(self, recipe: Recipe, lock: Lock, session: Session, *, change: bool) -> Iterator[Provider]:
        """Yield the locked packages; *change* has no effect."""
        assert lock.conda is not None
        packages, channels = lock.conda.packages, channels_of(recipe)

        def fetch() -> Mapping[CondaPackage, Path]:
            return fetch_packages(packages, channels, session)

        with session.store.scratch("conda") as scratch:
            yield CondaBase(
                interpreter=lock.interpreter,
                packages=packages,
                link_scripts=recipe.link_scripts,
                fetch=fetch,
                store=session.store,
                scratch=scratch,
                reporter=session.reporter,
            )
