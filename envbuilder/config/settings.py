"""The sources of artifacts on this machine: envbuilder.toml, pip's configuration, PIP_* and UV_*.

In order of precedence: the command line, ``ENVBUILDER_*``, ``envbuilder.toml``, ``UV_*``, ``PIP_*``, pip's
configuration files. The first that sets a value is used; wheelhouses (find-links) and trusted hosts of all of them
are combined, because another wheelhouse can only provide more files with the locked hashes.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from envbuilder.config.pip import pip_options
from envbuilder.config.values import (
    Layer,
    StoreKey,
    all_of,
    first_of,
    list_of,
    read_boolean,
    read_existing_file,
    read_file_path,
    read_location,
    read_proxy,
    read_seconds,
    read_store_address,
    read_store_keys,
    read_string,
    read_url,
)
from envbuilder.errors import RecipeError
from envbuilder.util.documents import DocumentError, parse_toml
from envbuilder.util.files import read_text

PYTORCH_INDEX = "https://download.pytorch.org/whl"

TORCH_FAMILY = frozenset(
    {
        "fbgemm-gpu",
        "pytorch-triton",
        "torch",
        "torch-tensorrt",
        "torchao",
        "torchaudio",
        "torchcodec",
        "torchcsprng",
        "torchdata",
        "torchrec",
        "torchtext",
        "torchvision",
        "xformers",
    }
)
"""Normalized names of packages of which PyTorch's index has a build for each CUDA variant."""

FILE_NAME = "envbuilder.toml"
ENVIRONMENT = {
    "ENVBUILDER_PYTORCH_INDEX": "pytorch-index: address whose <address>/<cuda> is PyTorch's index of a variant",
    "ENVBUILDER_STORE": "store: the address of a remote store",
    "ENVBUILDER_STORE_TRUST": "store-trust, separated by white space: files of public keys",
    "ENVBUILDER_ADVISORIES": "advisories: a folder or an archive of OSV records",
    "UV_DEFAULT_INDEX": "index-url",
    "UV_INDEX_URL": "index-url (uv's older name)",
    "UV_INDEX": "extra-index-url, separated by white space, each URL or name=URL",
    "UV_INDEX_<NAME>_USERNAME": "user of the index that UV_INDEX or UV_DEFAULT_INDEX calls name",
    "UV_INDEX_<NAME>_PASSWORD": "password of that index",
    "UV_EXTRA_INDEX_URL": "extra-index-url, separated by white space",
    "UV_FIND_LINKS": "find-links, separated by commas",
    "UV_NO_INDEX": "no-index",
    "UV_CONSTRAINT": "constraint, separated by white space",
    "UV_INSECURE_HOST": "trusted-host, separated by white space",
    "UV_HTTP_TIMEOUT": "timeout, seconds",
    "PIP_<OPTION>": "each of pip's options that envbuilder.toml knows, too; PIP_CONFIG_FILE names a file",
    "SSL_CERT_FILE": "cert, where neither envbuilder.toml nor pip has one; then REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE",
    "SSL_CLIENT_CERT": "client-cert, likewise",
    "HTTP_PROXY": "proxy, where no other is set; likewise HTTPS_PROXY, ALL_PROXY, NO_PROXY",
}
"""Every environment variable for sources of artifacts, with its setting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Sources of artifacts, in order of precedence."""

    find_links: tuple[str, ...] = ()
    """Wheelhouses: absolute folders, or ``file:``/``http(s):`` pages of links. They are searched before any index."""
    index_url: str = "https://pypi.org/simple"
    extra_index_urls: tuple[str, ...] = ()
    """Further indexes; ``file://`` folders are allowed."""
    pytorch_index: str = PYTORCH_INDEX
    """``<pytorch_index>/<cuda>`` is the simple index of one CUDA variant."""
    store: str | None = None
    """The address of a remote store, which is searched before any other source; without credentials."""
    store_trust: tuple[StoreKey, ...] = ()
    """Trusted signers there; empty: only artifacts are used, because a lock has their hashes."""
    insecure_registries: tuple[str, ...] = ()
    """``host`` or ``host:port`` of OCI registries that may answer in plain HTTP; loopback always may."""
    advisories: Path | None = None
    """A folder or an archive of OSV records."""
    constraints: tuple[Path, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    """``host`` or ``host:port`` whose certificate is not checked."""
    cert: Path | None = None
    """Certificates of the authorities to trust; None: those of the system."""
    client_cert: Path | None = None
    proxy: str | None = None
    """None: the one in ``HTTPS_PROXY`` and similar variables."""
    timeout: float = 60.0
    """Timeout between two bytes, in seconds."""


def load_settings(
    folder: Path, *, find_links: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings that apply to *folder*; *find_links* are those of the command line.

    Raises:
        RecipeError: envbuilder.toml, a variable or pip's configuration has an unknown key or an invalid value; the
        message says where.
    """
    here = Path.cwd()
    layers = [
        Layer(origin="--find-links", values={"find-links": list(find_links)}, base=here),
        Layer(origin="ENVBUILDER_*", values=_own_variables(environ), base=here),
        _read_toml(folder),
        Layer(origin="UV_*", values=_uv_variables(environ), base=here),
        Layer(origin="pip's configuration", values=_pip_values(environ), base=here),
        Layer(origin="environment", values=_tls_variables(environ), base=here),
    ]
    defaults = Settings()
    return Settings(
        find_links=tuple(dict.fromkeys(all_of(layers, "find-links", read_location))),
        index_url=first_of(layers, "index-url", read_url, defaults.index_url),
        extra_index_urls=tuple(first_of(layers, "extra-index-url", list_of(read_url), [])),
        pytorch_index=first_of(layers, "pytorch-index", read_url, defaults.pytorch_index),
        store=first_of(layers, "store", read_store_address, None),
        store_trust=tuple(chain.from_iterable(first_of(layers, "store-trust", list_of(read_store_keys), []))),
        insecure_registries=tuple(dict.fromkeys(all_of(layers, "insecure-registry", read_string))),
        advisories=first_of(layers, "advisories", read_existing_file, None),
        constraints=tuple(first_of(layers, "constraint", list_of(read_file_path), [])),
        no_index=first_of(layers, "no-index", read_boolean, defaults.no_index),
        trusted_hosts=tuple(dict.fromkeys(all_of(layers, "trusted-host", read_string))),
        cert=first_of(layers, "cert", read_existing_file, None),
        client_cert=first_of(layers, "client-cert", read_existing_file, None),
        proxy=first_of(layers, "proxy", read_proxy, None),
        timeout=first_of(layers, "timeout", read_seconds, defaults.timeout),
    )


# -- places --------------------------------------------------------------------------------------------

_LISTS = ("find-links", "extra-index-url", "constraint", "trusted-host", "insecure-registry")
_KEYS = (
    *_LISTS,
    "index-url",
    "pytorch-index",
    "store",
    "store-trust",
    "advisories",
    "no-index",
    "cert",
    "client-cert",
    "proxy",
    "timeout",
)
"""The keys of envbuilder.toml: pip's names, and envbuilder's own."""
MODELS = "models"
"""A table of envbuilder.toml that is not a setting, see :mod:`envbuilder.config.models`."""
_OWN = ("pytorch-index", "store", "store-trust", "advisories")


def find_settings_file(folder: Path) -> Path | None:
    """Return the envbuilder.toml that applies to *folder*: the nearest one upwards."""
    folder = folder.absolute()
    return next((file for up in (folder, *folder.parents) if (file := up / FILE_NAME).exists()), None)


def _read_toml(folder: Path) -> Layer:
    path = find_settings_file(folder)
    if path is None:
        return Layer(origin=FILE_NAME, values={}, base=folder)
    try:
        text = read_text(path)
        values = parse_toml(text.encode(), where=str(path)).value
    except DocumentError as error:
        raise RecipeError(error.message) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for key in values:
        if key not in (*_KEYS, MODELS):
            near = difflib.get_close_matches(key.replace("_", "-"), _KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(sorted(_KEYS))}"
            raise RecipeError(f"{path}:{_line(text, key)}: unknown key '{key}'", hint=hint)
    return Layer(origin=str(path), values=values, base=path.parent)


def _line(text: str, key: str) -> int:
    pattern = re.compile(rf"\s*\[?\s*[\"']?{re.escape(key)}\b")
    lines = enumerate(text.splitlines(), start=1)
    return next((number for number, line in lines if pattern.match(line)), 1)


def _own_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    values = _present({key: environ.get(f"ENVBUILDER_{key.replace('-', '_').upper()}") for key in _OWN})
    trusted = values.get("store-trust", "")
    if trusted and "-----BEGIN" not in trusted:
        values["store-trust"] = trusted.split()
    return values


def _uv_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    default = environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL")
    extra = f"{environ.get('UV_INDEX', '')} {environ.get('UV_EXTRA_INDEX_URL', '')}".split()
    return _present(
        {
            "index-url": _named_index(default, environ) if default else None,
            "extra-index-url": [_named_index(index, environ) for index in extra],
            # uv separates these by commas
            "find-links": [part for part in environ.get("UV_FIND_LINKS", "").split(",") if part.strip()],
            "no-index": environ.get("UV_NO_INDEX"),
            "constraint": environ.get("UV_CONSTRAINT", "").split(),
            "trusted-host": environ.get("UV_INSECURE_HOST", "").split(),
            "timeout": environ.get("UV_HTTP_TIMEOUT"),
        }
    )


def _named_index(value: str, environ: Mapping[str, str]) -> str:
    """Read uv's ``name=URL``, with uv's credentials for that name."""
    name, named, url = value.partition("=")
    if not named or not re.fullmatch(r"[\w.-]+", name):
        return value
    variable = "UV_INDEX_" + re.sub(r"\W", "_", name).upper()
    user, password = environ.get(f"{variable}_USERNAME"), environ.get(f"{variable}_PASSWORD")
    if not (user or password):
        return url
    scheme, separator, rest = url.partition("://")
    return f"{scheme}{separator}{quote(user or '', safe='')}:{quote(password or '', safe='')}@{rest}"


def _pip_values(environ: Mapping[str, str]) -> dict[str, Any]:
    options = pip_options(environ)
    values: dict[str, Any] = {key: options.get(key) for key in _KEYS if key not in _OWN}
    return _present(values | {key: options.get(key, "").split() for key in _LISTS})


def _tls_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    bundles = (environ.get(name) for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    return _present(
        {"cert": next(filter(None, bundles), None), "client-cert": environ.get("SSL_CLIENT_CERT")}
    )


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}
