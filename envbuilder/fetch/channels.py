"""Find sources of a locked conda package: a wheelhouse, then the lock's channel and its mirrors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import url2pathname

from envbuilder.config.channels import Channel
from envbuilder.fetch.candidate import Candidate
from envbuilder.lockfile.model import CondaPackage
from envbuilder.util.urls import public


def find_in_channels(
    package: CondaPackage, channels: Sequence[Channel], absent: list[str]
) -> Iterator[Candidate]:
    """Yield the sources that should have *package*. Each source without it adds a line with the reason to *absent*."""
    own = [channel for channel in channels if channel.name == package.channel]
    if not own:
        known = ", ".join(channel.name for channel in channels) or "none"
        absent.append(f"channel {package.channel}: not among the recipe's ({known})")
    for url in (url for channel in own for url in channel.urls):
        if urlsplit(url).scheme == "file":
            path = Path(url2pathname(urlsplit(url).path)) / package.subdir / package.filename
            if path.is_file():
                yield Candidate(place=str(path), path=path)
            else:
                absent.append(f"{path}: {'not found' if path.parent.is_dir() else 'no such channel'}")
            continue
        address = f"{url}/{package.subdir}/{quote(package.filename)}"
        yield Candidate(place=public(address), url=address)
