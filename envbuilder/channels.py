"""Conda channels: what a recipe calls them, what the user's conda configuration makes of that, and where they lie."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from envbuilder.condarc import Condarc
from envbuilder.errors import RecipeError

PLATFORMS: Final = ("linux-64", "noarch")
"""The folders of a channel that count."""
_ANACONDA_NAMES: Final = ("defaults", "anaconda", "free", "main", "msys2", "pro", "r")
_ANACONDA_HOSTS: Final = ("repo.anaconda.com", "repo.continuum.io", "repo.anaconda.cloud")
_DEFAULTS: Final = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """A channel, and the places that have it."""

    name: str
    """What a lock calls it: no host, no folder."""
    urls: tuple[str, ...]
    """The first that answers counts; with credentials, where there are any."""


def channel_name(channel: str) -> str:
    """Return what a lock calls *channel*: its name, or the last part of its address."""
    if "://" not in channel:
        return channel.strip("/")
    parts = [unquote(part) for part in urlsplit(channel).path.split("/") if part]
    return parts[-1] if parts else urlsplit(channel).netloc


def is_anacondas(channel: str) -> bool:
    """Say whether *channel* is one of Anaconda's own, whose terms of service bind companies."""
    if "://" not in channel:
        name = channel.strip("/")
        return name in _ANACONDA_NAMES or name.startswith("pkgs/")
    parts = urlsplit(channel)
    names = [part for part in parts.path.split("/") if part]
    if parts.hostname == "conda.anaconda.org":
        return bool(names) and names[0] in _ANACONDA_NAMES
    return parts.hostname in _ANACONDA_HOSTS


def open_channels(channels: Iterable[str], condarc: Condarc, *, anaconda_terms: bool) -> tuple[Channel, ...]:
    """Return the channels of a recipe in their order, as the user's conda configuration knows them.

    Raises:
        RecipeError: the configuration makes one of Anaconda's own of a name, and its terms are not accepted; or it
            does not allow one.
    """
    found: dict[str, Channel] = {}
    for written in channels:
        for name, url in _expanded(written, condarc):
            if is_anacondas(url) and not anaconda_terms:
                raise RecipeError(
                    f"the channel {written} is Anaconda's ({public(url)}), whose terms of service bind companies",
                    hint="`anaconda-terms: accepted` in the recipe says that you may use it",
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
    """Yield name and address of each channel that *written* stands for."""
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


def public(url: str) -> str:
    """Return *url* without credentials: no user, no token (``/t/<token>/``)."""
    url = re.sub(r"//[^/@]*@", "//", url)
    return re.sub(r"/t/[^/]+/", "/", url)
