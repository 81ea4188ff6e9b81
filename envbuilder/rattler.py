"""py-rattler, which solves and links conda packages: an extra, for it is 80 MB that most recipes have no use for."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import os
import re
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from envbuilder.channels import public
from envbuilder.condarc import Condarc
from envbuilder.errors import ResolveError

_T = TypeVar("_T")


def rattler() -> ModuleType:
    """Return the module ``rattler``.

    Raises:
        ResolveError: it is not installed.
    """
    try:
        for name in ("rattler.exceptions", "rattler.networking", "rattler.package_streaming"):
            importlib.import_module(name)
        return importlib.import_module("rattler")
    except ImportError as error:
        raise ResolveError(
            f"`provider: conda` needs py-rattler, which is not installed ({error})",
            hint='pip install "envbuilder[conda]"',
        ) from error


def rattler_version() -> str:
    """Return the version of py-rattler."""
    return importlib.metadata.version("py-rattler")


def wait(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Return what *coroutine* returns. For code that runs in no event loop, in any thread."""
    return asyncio.run(coroutine)


def said(error: Exception) -> str:
    """Return what py-rattler says of an error, its causes in a line each, indented, without credentials."""
    lines = [re.sub(r"^Caused by: ", "", line.strip()) for line in str(error).splitlines() if line.strip()]
    return public("\n  ".join(dict.fromkeys(lines)))


def make_client(condarc: Condarc, timeout: float) -> Any:
    """Return a client with the certificates and proxies of the conda configuration, and rattler's own credentials."""
    module = rattler()
    toml = ['tls-root-certs = "system"']
    if condarc.ssl_verify is False:
        toml.append("tls-no-verify = true")
    if condarc.proxies:
        toml.append("[proxy-config]")
        toml += [
            f"{key} = {json.dumps(value)}"
            for key, value in condarc.proxies.items()
            if key in ("http", "https")
        ]
    with _certificates(condarc.ssl_verify):
        config = module.Config.from_toml("\n".join(toml))
        return module.networking.Client.from_config(
            config, user_agent="envbuilder", timeout=max(1, round(timeout))
        )


@contextmanager
def _certificates(verify: bool | str) -> Iterator[None]:
    """Name a file of certificates the one way in which rattler can be told one: by the environment."""
    named = os.environ.get("SSL_CERT_FILE")
    if not isinstance(verify, str) or verify == "truststore" or named is not None:
        yield
        return
    os.environ["SSL_CERT_FILE"] = verify
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
