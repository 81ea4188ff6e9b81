"""Check the conda keys of a recipe together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from envbuilder.recipe.channels import channel_name, is_anacondas
from envbuilder.util.paths import UnknownHomeError, expand_user
from envbuilder.util.yaml import Value

TORCH_PACKAGES: Final = ("pytorch", "pytorch-cpu", "pytorch-gpu")
"""Conda packages that are or depend on torch."""
_ONLY_CONDA: Final = ("channels", "conda", "link-scripts", "anaconda-terms")
_SPEC: Final = re.compile(
    r"(?:(?P<channel>[^:\[\]=<>!~ ]+)::)?(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*)(?P<rest>.*)", re.DOTALL
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaKeys:
    """The conda keys of a recipe."""

    channels: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    link_scripts: tuple[str, ...] = ()
    torch: bool = False
    """Whether torch comes from a channel."""


def spec_name(spec: str) -> str:
    """Return the package name in a match spec, in lower case."""
    match = _SPEC.fullmatch(spec.strip())
    return match["name"].lower() if match else ""


def read_conda_keys(found: Mapping[str, Value], path: Path) -> CondaKeys:
    """Check the conda keys of the recipe in the file *path*.

    Raises:
        RecipeError: a key belongs to another provider, a channel is missing or unusable, or a match spec is invalid.
    """
    provider = found["provider"].data if "provider" in found else "cpython"
    if provider != "conda":
        for key in _ONLY_CONDA:
            if key in found:
                raise found[key].error(f"`{key}` without `provider: conda`", "provider: conda")
        if "compiler" in found and found["compiler"].data == "bundled":
            raise found["compiler"].error(
                "`compiler: bundled` without `provider: conda`: only a channel has a compiler that can be packed",
                "possible with provider: cpython: none or system",
            )
        return CondaKeys()
    channels = found["channels"].data if "channels" in found else []
    if not channels:
        raise found["provider"].error(
            "`provider: conda` without `channels`", "for instance channels: [conda-forge]"
        )
    names: dict[str, str] = {}
    for value in channels:
        channel = _channel(value, path, accepted="anaconda-terms" in found)
        if channel_name(channel) in names:
            raise value.error(
                f"two channels are called {channel_name(channel)}",
                "a lock contains no hosts: channels are identified by their name, the last part of the address",
            )
        names[channel_name(channel)] = channel
    specs = [_spec(value, names) for value in (found["conda"].data if "conda" in found else [])]
    scripts = found["link-scripts"].data if "link-scripts" in found else []
    return CondaKeys(
        channels=tuple(names.values()),
        specs=tuple(specs),
        link_scripts=tuple(value.data for value in scripts),
        torch=any(spec_name(spec) in TORCH_PACKAGES for spec in specs),
    )


def _channel(value: Value, path: Path, *, accepted: bool) -> str:
    channel: str = value.data.strip()
    if channel.startswith((".", "/", "~")):
        try:
            folder = path.absolute().parent / expand_user(channel)
        except UnknownHomeError as error:
            raise value.error(str(error), error.hint) from None
        return Path(os.path.normpath(folder)).as_uri()
    if "://" in channel:
        try:
            urlsplit(channel)
        except ValueError as error:
            raise value.error(f"{channel!r} is no channel: {error}") from None
        if not re.match(r"(https?|file|s3|gcs|oci)://", channel):
            raise value.error(
                f"{channel!r} is no channel", "a name, an address (https:, file:), or a folder (./channel)"
            )
        if re.search(r"//[^/@]*@|/t/[^/]+/", channel):
            raise value.error(
                "a channel with a password or a token in it",
                "put credentials into .netrc or the conda configuration (channel_alias, custom_channels)",
            )
    elif not re.fullmatch(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*", channel):
        raise value.error(
            f"{channel!r} is no channel", "a name, an address (https:, file:), or a folder (./channel)"
        )
    if is_anacondas(channel) and not accepted:
        raise value.error(
            f"the channel {channel} is Anaconda's, whose terms of service bind companies",
            "conda-forge has nearly all of its packages; set `anaconda-terms: accepted` if you may use it",
        )
    return channel.rstrip("/")


def _spec(value: Value, channels: Mapping[str, str]) -> str:
    spec: str = value.data.strip()
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise value.error(
            f"{spec!r} is not a match spec",
            "for example ffmpeg, ffmpeg >=6, or conda-forge::ffmpeg 6.1.*",
        )
    name = match["name"].lower()
    if name == "python":
        raise value.error("python among `conda`", "set its version with `python`, or by the release")
    if match["channel"] is not None and match["channel"] not in channels:
        raise value.error(
            f"{spec!r} names a channel that is not in `channels`: {match['channel']}",
            f"channels: {', '.join(channels)}",
        )
    if name in TORCH_PACKAGES and match["rest"].strip():
        raise value.error(
            f"{spec!r}: set the version of torch with `torch`, and its build with `cuda`", f"conda: [{name}]"
        )
    return spec
