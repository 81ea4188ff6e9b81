"""The user's conda configuration: channel URLs, credentials, and which channels are allowed.

Read as conda reads it (``conda config --show-sources``): system, user, environment, ``CONDARC``, of which later
ones take precedence, then ``CONDA_*`` variables. mamba's ``mirrored_channels`` is supported, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from envbuilder.errors import RecipeError
from envbuilder.util.files import read_text
from envbuilder.util.yaml import NOT_YAML

_ALIAS = "https://conda.anaconda.org"


@dataclass(frozen=True, kw_only=True, slots=True)
class Condarc:
    """The configuration of channels."""

    channel_alias: str = _ALIAS
    """A channel's name is appended to it."""
    custom_channels: Mapping[str, str] = field(default_factory=dict)
    """Name → the address that the name is appended to."""
    default_channels: tuple[str, ...] = ()
    """The channels of ``defaults``."""
    multichannels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name or address → mirrors."""
    allowlist: tuple[str, ...] = ()
    """Allowed names and addresses; empty: every channel is allowed."""
    denylist: tuple[str, ...] = ()
    ssl_verify: bool | str = True
    """False, or a file of certificates."""
    proxies: Mapping[str, str] = field(default_factory=dict)
    """``http`` and ``https`` → address."""
    origin: str = ""
    """The files it was read from."""

    def address(self, name: str) -> str:
        """Return the address of the channel *name*."""
        top, _, rest = name.partition("/")
        for known in (name, top):
            if known in self.custom_channels:
                base = self.custom_channels[known].rstrip("/")
                return f"{base}/{known}" + (f"/{rest}" if known == top and rest else "")
        return f"{self.channel_alias.rstrip('/')}/{name}"

    def allows(self, name: str, url: str) -> bool:
        """Return whether a channel may be used."""
        both = {name, url.rstrip("/"), re.sub(r"//[^/@]*@", "//", url.rstrip("/"))}
        if both & {one.rstrip("/") for one in self.denylist}:
            return False
        return not self.allowlist or bool(both & {one.rstrip("/") for one in self.allowlist})


SYSTEM_FOLDERS = (Path("/etc/conda"), Path("/var/lib/conda"))
"""Files of lowest precedence, in conda's own order (``SEARCH_PATH`` in conda/base/constants.py)."""


def read_condarc(environ: Mapping[str, str] = os.environ) -> Condarc:
    """Read every existing file of the configuration.

    Raises:
        RecipeError: one cannot be read, or has an invalid value; the message names the file.
    """
    merged: dict[str, Any] = {}
    read: list[str] = []
    for path in _files(environ):
        values = _load(path)
        _check(values, path)
        merged |= {key: _merged(merged.get(key), value) for key, value in values.items()}
        read.append(str(path))
    for key in ("channel_alias", "ssl_verify"):
        if value := environ.get(f"CONDA_{key.upper()}"):
            merged[key] = value
    return Condarc(
        channel_alias=_text(merged.get("channel_alias"), environ) or _ALIAS,
        custom_channels={str(k): _text(v, environ) for k, v in (merged.get("custom_channels") or {}).items()},
        default_channels=_texts(merged.get("default_channels"), environ),
        multichannels=_lists(merged.get("custom_multichannels"), environ),
        mirrors=_lists(merged.get("mirrored_channels"), environ),
        allowlist=_texts(merged.get("allowlist_channels") or merged.get("whitelist_channels"), environ),
        denylist=_texts(merged.get("denylist_channels"), environ),
        ssl_verify=_ssl_verify(merged.get("ssl_verify", True)),
        proxies={str(k): _text(v, environ) for k, v in (merged.get("proxy_servers") or {}).items()},
        origin=", ".join(read),
    )


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    home = environ.get("HOME")
    folders = [*SYSTEM_FOLDERS]
    if "CONDA_ROOT" in environ:
        folders.append(Path(environ["CONDA_ROOT"]))
    if "XDG_CONFIG_HOME" in environ:
        folders.append(Path(environ["XDG_CONFIG_HOME"]) / "conda")
    if home:
        folders += [Path(home, ".config", "conda"), Path(home, ".conda")]
    places: list[Path] = []
    for folder in folders:
        places += [folder / ".condarc", folder / "condarc", *sorted(folder.glob("condarc.d/*.y*ml"))]
    places += [Path(home, ".condarc")] if home else []
    places += [Path(environ["CONDA_PREFIX"], ".condarc")] if environ.get("CONDA_PREFIX") else []
    places += [Path(environ["CONDARC"])] if environ.get("CONDARC") else []
    return (path for path in dict.fromkeys(places) if path.is_file())


def _load(path: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(read_text(path))
    except (OSError, *NOT_YAML, RecursionError) as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise RecipeError(f"{path}: is not a conda configuration: {said[0]}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: is not a conda configuration; expected keys and values")
    return values


_MAPPINGS = ("custom_channels", "custom_multichannels", "mirrored_channels", "proxy_servers")
_LISTS = ("default_channels", "allowlist_channels", "whitelist_channels", "denylist_channels")


def _check(values: Mapping[str, Any], path: Path) -> None:
    kinds = {**dict.fromkeys(_MAPPINGS, dict), **dict.fromkeys(_LISTS, list), "channel_alias": str}
    for key, kind in kinds.items():
        if values.get(key) is not None and not isinstance(values[key], kind):
            what = {dict: "a mapping", list: "a list", str: "a text"}[kind]
            raise RecipeError(f"{path}: {key} is no {what.split()[1]}", hint=f"conda wants {what} there")
    for key in ("custom_multichannels", "mirrored_channels"):
        for name, value in (values.get(key) or {}).items():
            if not isinstance(value, list):
                raise RecipeError(f"{path}: {key}: {name} is no list", hint="conda wants a list there")


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **new}
    if isinstance(old, list) and isinstance(new, list):
        return [*new, *(item for item in old if item not in new)]
    return new


def _text(value: Any, environ: Mapping[str, str]) -> str:
    """Return a text with ``${NAME}`` expanded from the environment, as conda does."""
    return re.sub(r"\$\{?(\w+)\}?", lambda m: environ.get(m[1], m[0]), "" if value is None else str(value))


def _texts(values: Any, environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(_text(value, environ) for value in values or ())


def _lists(values: Any, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {str(name).rstrip("/"): _texts(value, environ) for name, value in (values or {}).items()}


def _ssl_verify(value: Any) -> bool | str:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower(), value)
    return bool(value)
