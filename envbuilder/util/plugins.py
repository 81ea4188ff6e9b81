"""Plugins: implementations that other distributions add by entry points, beside the built-in ones.

``importlib.metadata`` is imported where a plugin is looked for: it takes longer than all the rest of this module.
"""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from envbuilder.errors import PluginError, RecipeError
from envbuilder.util.text import listed

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_T = TypeVar("_T")


def installed(group: str) -> tuple[str, ...]:
    """Return the names that installed distributions have in the entry-point group *group*, sorted."""
    from importlib.metadata import entry_points

    return tuple(sorted({entry.name for entry in entry_points(group=group)}))


class Registry(Generic[_T]):
    """The implementations of one plugin interface, by name.

    An entry point names a class, which is called without arguments, or an object. A plugin with the name of a built-in
    is ignored.
    """

    def __init__(
        self, group: str, kind: str, *, built_in: Mapping[str, str], needs: tuple[str, ...] = ()
    ) -> None:
        """Register the built-in implementations.

        Args:
            group: the entry-point group, ``envbuilder.layouts``.
            kind: the term for one in errors: ``layout``.
            built_in: ``module:attribute`` by name, as an entry point has it.
            needs: required methods and attributes.
        """
        self.group = group
        self._kind = kind
        self._needs = needs
        self._built_in = built_in

    def names(self) -> tuple[str, ...]:
        """Return the names of all implementations, built-in and installed, sorted."""
        return tuple(sorted({*self._built_in, *installed(self.group)}))

    def get(self, name: str) -> _T:
        """Return the implementation called *name*.

        Raises:
            RecipeError: the name is unknown.
            PluginError: the plugin cannot be used.
        """
        built_in = self._built_in.get(name)
        if built_in is not None:
            return self._made(pkgutil.resolve_name(built_in))
        from importlib.metadata import entry_points

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
            else f"plugins add one by an entry point in the group {self.group}",
        )

    def _loaded(self, entry: EntryPoint) -> _T:
        what = f"the {self._kind} {entry.name!r} of {_origin(entry)}"
        try:
            plugin = self._made(entry.load())
        except Exception as error:  # a plugin may raise anything when it is imported
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
