"""Typed values of settings, each from one layer of configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

from envbuilder.errors import RecipeError
from envbuilder.util.files import read_regular
from envbuilder.util.paths import expand_user
from envbuilder.util.printable import shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One layer's values by the names of envbuilder.toml, not yet parsed."""

    origin: str
    values: Mapping[str, Any]
    base: Path
    """The folder for relative paths."""

    def where(self, key: str) -> str:
        """Return the place of a value for an error."""
        return f"{self.origin}: {key}"


_T = TypeVar("_T")
Reader = Callable[[Any, Layer, str], _T]
"""Takes a value, its layer, and its key."""


def first_of(layers: Sequence[Layer], key: str, read: Reader[_T], default: _T) -> _T:
    """Return the value of the first layer with one."""
    for layer in layers:
        if key in layer.values:
            return read(layer.values[key], layer, key)
    return default


def all_of(layers: Sequence[Layer], key: str, read: Reader[_T]) -> list[_T]:
    """Return the values of all layers, one after the other."""
    named = [layer for layer in layers if key in layer.values]
    return [value for layer in named for value in list_of(read)(layer.values[key], layer, key)]


def list_of(read: Reader[_T]) -> Reader[list[_T]]:
    """Return a reader of lists; a single value is a list of one."""

    def read_list(value: Any, layer: Layer, key: str) -> list[_T]:
        if not isinstance(value, list):
            value = [value]  # one string: a list of one
        return [read(item, layer, key) for item in value]

    return read_list


def read_string(value: Any, layer: Layer, key: str) -> str:
    """Read a non-empty string."""
    if not isinstance(value, str) or not value.strip():
        raise RecipeError(f"{layer.where(key)} must be text, found {value!r}")
    return value.strip()


def _split(text: str, layer: Layer, key: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.hostname, parts.port  # raises if it is invalid
    except ValueError as error:
        raise RecipeError(f"{layer.where(key)}: {shown(text)} is no address: {error}") from None
    return parts


def read_url(value: Any, layer: Layer, key: str) -> str:
    """Read the address of an index."""
    url = read_string(value, layer, key)
    if _split(url, layer, key).scheme in ("http", "https", "file"):
        return url.rstrip("/")
    folder = layer.base / expand_user(url)
    if "://" not in url and folder.is_dir():
        return folder.absolute().as_uri()
    raise RecipeError(
        f"{layer.where(key)} must be the http(s):// or file:// address of an index, found {url!r}"
    )


def read_store_address(value: Any, layer: Layer, key: str) -> str:
    """Read the address of a remote store, without credentials."""
    text = read_string(value, layer, key).rstrip("/")
    if "://" not in text:
        return f"file://{read_file_path(text, layer, key)}"  # like fsspec, without unquoting
    parts = _split(text, layer, key)
    if parts.password is not None or (
        parts.username is not None and parts.scheme in ("s3", "gs", "http", "https")
    ):
        raise RecipeError(
            f"{layer.where(key)} holds credentials",
            hint="leave them to the library of that kind of store: a profile, a role, variables such as AWS_PROFILE",
        )
    return text


def read_location(value: Any, layer: Layer, key: str) -> str:
    """Read an address or a path."""
    text = read_string(value, layer, key)
    if _split(text, layer, key).scheme in ("http", "https", "file"):
        return text
    return str(read_file_path(text, layer, key))


def read_file_path(value: Any, layer: Layer, key: str) -> Path:
    """Read a path."""
    text = read_string(value, layer, key)
    parts = _split(text, layer, key)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    if parts.scheme in ("http", "https"):
        raise RecipeError(
            f"{layer.where(key)} must be a file, found {text!r}", hint="download it and name the file"
        )
    return Path(os.path.normpath(layer.base / expand_user(text)))


def read_existing_file(value: Any, layer: Layer, key: str) -> Path:
    """Read the path of an existing file or folder."""
    path = read_file_path(value, layer, key)
    if not path.exists():
        raise RecipeError(f"{layer.where(key)} is {str(path)!r}, which does not exist")
    return path


def read_boolean(value: Any, layer: Layer, key: str) -> bool:
    """Read true or false, in any of pip's spellings."""
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in ("y", "yes", "t", "true", "on", "1"):
        return True
    if word in ("n", "no", "f", "false", "off", "0"):
        return False
    raise RecipeError(f"{layer.where(key)} must be true or false, found {value!r}")


def read_seconds(value: Any, layer: Layer, key: str) -> float:
    """Read a number of seconds."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 < seconds < float("inf"):
        raise RecipeError(f"{layer.where(key)} must be a number of seconds above 0, found {value!r}")
    return seconds


def read_proxy(value: Any, layer: Layer, key: str) -> str:
    """Read the address of a proxy."""
    proxy = read_string(value, layer, key)
    return proxy if "://" in proxy else f"http://{proxy}"  # like pip's host:port


_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.+?-----END \1-----", re.DOTALL)
_KEY_BYTES = 64 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreKey:
    """A public key of ``store-trust``, as text: it is parsed by the verifier."""

    origin: str
    """Its file, or the place of the setting if that contains it."""
    pem: str


def read_store_keys(value: Any, layer: Layer, key: str) -> tuple[StoreKey, ...]:
    """Read public keys: a file with one or several, or their text (PEM)."""
    text = read_string(value, layer, key)
    origin, where = layer.where(key), layer.where(key)
    if "-----BEGIN" not in text:
        path = read_file_path(text, layer, key)
        origin, where = str(path), f"{where}: {path}"
        try:
            text = read_regular(path, most=_KEY_BYTES).decode("ascii", "replace")
        except OSError as error:
            raise RecipeError(f"{where} cannot be read: {error.strerror or error}") from error
    blocks = list(_PEM.finditer(text))
    if not blocks:
        raise RecipeError(f"{where} is not a public key", hint="expected PEM, as written by openssl")
    for block in blocks:
        if "PRIVATE KEY" in block[1]:
            raise RecipeError(
                f"{where} is a private key; expected a public key",
                hint="`openssl pkey -in KEY -pubout -out KEY.pub` writes the public one, which store-trust names",
            )
        if block[1] != "PUBLIC KEY":
            raise RecipeError(
                f"{where}: expected a public key, found {block[1].lower()}",
                hint="`openssl x509 -in CERTIFICATE -noout -pubkey` writes the key of a certificate",
            )
    return tuple(StoreKey(origin=origin, pem=block[0]) for block in blocks)
