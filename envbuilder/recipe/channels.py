"""Names of conda channels in recipes and locks."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

PLATFORMS: Final = ("linux-64", "noarch")
"""The subdirs of a channel that are used."""


_ANACONDA_NAMES: Final = ("defaults", "anaconda", "free", "main", "msys2", "pro", "r")


_ANACONDA_HOSTS: Final = ("repo.anaconda.com", "repo.continuum.io", "repo.anaconda.cloud")


def channel_name(channel: str) -> str:
    """Return the name of *channel* in a lock: its name, or the last part of its address."""
    if "://" not in channel:
        return channel.strip("/")
    parts = [unquote(part) for part in urlsplit(channel).path.split("/") if part]
    return parts[-1] if parts else urlsplit(channel).netloc


def is_anacondas(channel: str) -> bool:
    """Return whether *channel* is one of Anaconda's own, whose terms of service bind companies."""
    if "://" not in channel:
        name = channel.strip("/")
        return name in _ANACONDA_NAMES or name.startswith("pkgs/")
    parts = urlsplit(channel)
    names = [part for part in parts.path.split("/") if part]
    if parts.hostname == "conda.anaconda.org":
        return bool(names) and names[0] in _ANACONDA_NAMES
    return parts.hostname in _ANACONDA_HOSTS
