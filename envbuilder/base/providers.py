"""The plugin interface of base providers: this machine's CPython, conda channels, or another distribution."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol

from envbuilder.base.provider import Provider
from envbuilder.lockfile.model import CondaPackage, Lock, LockedInterpreter
from envbuilder.lockfile.upgrade import Upgrade
from envbuilder.recipe.model import Recipe
from envbuilder.recipe.schema import PROVIDERS as GROUP
from envbuilder.store.session import Session
from envbuilder.util.plugins import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedBase:
    """The base's part of a lock."""

    interpreter: LockedInterpreter
    packages: tuple[CondaPackage, ...] = ()
    """Its conda packages, in installation order."""
    provided: Mapping[str, bytes] = field(default_factory=dict)
    """The metadata (METADATA) of each Python project in it, by normalized name: no wheel of those is taken."""


class BaseProvider(Protocol):
    """Provides the base of recipes that say ``provider: NAME``.

    A distribution adds one by an entry point, which names a class that is called without arguments::

        [project.entry-points."envbuilder.providers"]
        acme = "acme_base:AcmeProvider"

    A lock is made on one machine, and builds on others: what :meth:`open` gives on any of them must be, byte for byte,
    what the lock says. Failures are raised as :class:`~envbuilder.errors.EnvbuilderError`; the command line prints
    message and hint.
    """

    def lock(
        self, recipe: Recipe, session: Session, *, previous: Lock | None, upgrade: Upgrade
    ) -> LockedBase:
        """Choose the base of *recipe*.

        Args:
            recipe: ``python`` is the minor version that it must have, ``release`` what will load it.
            session: where artifacts come from and are kept; its reporter is told of progress.
            previous: the previous lock, whose base is kept if it still fits.
            upgrade: which parts of *previous* to upgrade.

        Returns: the base. The interpreter's ``origin`` begins with the provider's name and a colon, its ``digest`` is
        the sha256 of what decides its bytes.
        """

    def open(
        self, recipe: Recipe, lock: Lock, session: Session, *, change: bool
    ) -> AbstractContextManager[Provider]:
        """Yield the base that *lock* names; with *change* another interpreter may replace the locked one.

        Raises:
            IntegrityError: this machine has another one.
            AssembleError: it has none.
        """


PROVIDERS: Final[Registry[BaseProvider]] = Registry(
    GROUP,
    "provider",
    built_in={
        "cpython": "envbuilder.base.built_in_providers:CPythonProvider",
        "conda": "envbuilder.base.built_in_providers:CondaProvider",
    },
    needs=("lock", "open"),
)
"""All providers."""
