"""Trusted certificate authorities, for clients of indexes and registries."""

from __future__ import annotations

import ssl

import httpx2

from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError


def trusted_certificates(settings: Settings) -> ssl.SSLContext:
    """Return the ``verify`` argument for httpx: the authorities in *settings*, or else those of the system.

    Raises:
        RecipeError: the file holds no certificates, or those of the system cannot be read.
    """
    if settings.cert is None:
        try:
            return httpx2.create_ssl_context()
        except ssl.SSLError as error:
            raise RecipeError(
                f"the certificates of this system ({ssl.get_default_verify_paths().openssl_cafile}) "
                f"cannot be read: {error}",
                hint="install Debian's ca-certificates anew, or name another file as `cert` in envbuilder.toml",
            ) from error
    folder, path = settings.cert.is_dir(), str(settings.cert)
    try:
        return ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
    except ssl.SSLError as error:
        raise RecipeError(f"{settings.cert} holds no certificates: {error}") from error
