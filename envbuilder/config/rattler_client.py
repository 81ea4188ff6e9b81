"""A client for conda channels, configured by conda's own configuration."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from envbuilder.util.rattler import rattler


def make_client(verify: bool | str, proxies: Mapping[str, str], timeout: float) -> Any:
    """Return a client with the certificates and proxies of the conda configuration, and rattler's own credentials."""
    module = rattler()
    toml = ['tls-root-certs = "system"']
    if verify is False:
        toml.append("tls-no-verify = true")
    if proxies:
        toml.append("[proxy-config]")
        toml += [f"{key} = {json.dumps(value)}" for key, value in proxies.items() if key in ("http", "https")]
    with _certificates(verify):
        config = module.Config.from_toml("\n".join(toml))
        return module.networking.Client.from_config(
            config, user_agent="envbuilder", timeout=max(1, round(timeout))
        )


@contextmanager
def _certificates(verify: bool | str) -> Iterator[None]:
    """Set a file of certificates for rattler, which is only possible through the environment."""
    named = os.environ.get("SSL_CERT_FILE")
    if not isinstance(verify, str) or verify == "truststore" or named is not None:
        yield
        return
    os.environ["SSL_CERT_FILE"] = verify
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
