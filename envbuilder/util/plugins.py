"""What other distributions add to this tool, by entry points; what it brings itself is registered in the same form."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from envbuilder.errors import PluginError, RecipeError
from envbuilder.util.text import listed

_T = TypeVar("_T")


def installed(group: str) -> tuple[str, ...]:
    """Return the names that installed distributions have in the entry-point group *group*, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


class Registry(Generic[_T]):
    """The implementations of one seam, by name.

    An entry point names a class, which is called without arguments, or an object. One with the name of a built-in is
    never asked.
    """

    def __init__(
        self, group: str, kind: str, *, built_in: Mapping[str, str], needs: tuple[str, ...] = ()
    ) -> None:
        """Register what is built in.

        Args:
            group: the entry-point group, ``envbuilder.layouts``.
            kind: what one is called in an error: ``layout``.
            built_in: ``module:attribute`` by name, as an entry point has it.
            needs: methods and attributes that one must have.
        """
        self.group = group
        self._kind = kind
        self._needs = needs
        self._built_in = {name: EntryPoint(name, value, group) for name, value in built_in.items()}

    def names(self) -> tuple[str, ...]:
        """Return the names of all there are, built in and installed, sorted."""
        return tuple(sorted({*self._built_in, *installed(self.group)}))

    def get(self, name: str) -> _T:
        """Return the implementation called *name*.

        Raises:
            RecipeError: there is none.
            PluginError: an installed distribution's cannot be used.
        """
        entry = self._built_in.get(name)
        if entry is not None:
            return self._made(entry.load())
        found = tuple(entry_points(group=self.group, name=name))
        if not found:
            raise self._unknown(name)
        if len({entry.value for entry in found}) > 1:
            both = listed([_origin(entry) for entry in found], "and")
            raise PluginError(f"{both} all provide the {self._kind} {name!r}", hint="uninstall all but one")
        return self._loaded(found[0])

    def _unknown(self, name: str) -> RecipeError:
        names = self.names()
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        return RecipeError(
            f"unknown {self._kind} {name!r}; expected {listed(names, 'or')}",
            hint=f"did you mean {near[0]!r}?"
            if near
            else f"a distribution adds one by an entry point in the group {self.group}",
        )

    def _loaded(self, entry: EntryPoint) -> _T:
        what = f"the {self._kind} {entry.name!r} of {_origin(entry)}"
        try:
            plugin = self._made(entry.load())
        except Exception as error:  # whatever somebody else's module does when it is imported
            raise PluginError(
                f"{what} cannot be loaded: {type(error).__name__}: {error}", hint="update or uninstall it"
            ) from error
        missing = [need for need in self._needs if not hasattr(plugin, need)]
        if missing:
            raise PluginError(f"{what} has no {listed(missing, 'and no')}", hint="update or uninstall it")
        return plugin

    @staticmethod
    def _made(found: Any) -> _T:
        return cast(_T, found() if isinstance(found, type) else found)


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else entry.value
