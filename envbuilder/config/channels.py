"""Conda channels: from their names in a recipe, through the user's conda configuration, to URLs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from envbuilder.config.condarc import Condarc, read_condarc
from envbuilder.errors import RecipeError
from envbuilder.recipe.channels import channel_name, is_anacondas
from envbuilder.recipe.model import Recipe
from envbuilder.util.urls import public

_DEFAULTS: Final = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """A channel, and its URLs."""

    name: str
    """Its name in a lock, without host or folder."""
    urls: tuple[str, ...]
    """The first that answers is used; with credentials, if any."""


def open_channels(channels: Iterable[str], condarc: Condarc, *, anaconda_terms: bool) -> tuple[Channel, ...]:
    """Return the channels of a recipe in their order, as the user's conda configuration knows them.

    Raises:
        RecipeError: the configuration maps a name to one of Anaconda's channels without accepted terms, or does not
        allow a channel.
    """
    found: dict[str, Channel] = {}
    for written in channels:
        for name, url in _expanded(written, condarc):
            if is_anacondas(url) and not anaconda_terms:
                raise RecipeError(
                    f"the channel {written} is Anaconda's ({public(url)}), whose terms of service bind companies",
                    hint="set `anaconda-terms: accepted` in the recipe if you may use it",
                )
            if not condarc.allows(name, url):
                raise RecipeError(
                    f"the channel {name} is not allowed by {condarc.origin or 'the conda configuration'}",
                    hint="allowlist_channels and denylist_channels there say which are",
                )
            mirrors = condarc.mirrors.get(name) or condarc.mirrors.get(url.rstrip("/")) or (url,)
            found.setdefault(name, Channel(name=name, urls=tuple(one.rstrip("/") for one in mirrors)))
    return tuple(found.values())


def _expanded(written: str, condarc: Condarc) -> Iterator[tuple[str, str]]:
    """Yield name and address of each channel for *written*."""
    if "://" in written:
        yield channel_name(written), written
        return
    name = written.strip("/")
    if name == "defaults":
        for url in condarc.default_channels or _DEFAULTS:
            yield from ((channel_name(url), url),) if "://" in url else _expanded(url, condarc)
    elif name in condarc.multichannels:
        for one in condarc.multichannels[name]:
            yield from _expanded(one, condarc)
    else:
        yield name, condarc.address(name)


def channels_of(recipe: Recipe, condarc: Condarc | None = None) -> tuple[Channel, ...]:
    """Return the channels of *recipe* as the user's conda configuration knows them.

    Raises:
        RecipeError: the configuration cannot be read, or does not allow one.
    """
    if recipe.provider != "conda":
        return ()
    return open_channels(recipe.channels, condarc or read_condarc(), anaconda_terms=recipe.anaconda_terms)
