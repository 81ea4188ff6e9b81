"""Whose certificates are believed: what a client of indexes and one of registries have in common."""

from __future__ import annotations

import ssl

from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError


def trusted_certificates(settings: Settings) -> ssl.SSLContext | bool:
    """Return what httpx takes for ``verify``: the authorities that *settings* name; True: those of the system.

    Raises:
        RecipeError: the file holds no certificates.
    """
    if settings.cert is None:
        return True
    folder, path = settings.cert.is_dir(), str(settings.cert)
    try:
        return ssl.create_default_context(cafile=None if folder else path, capath=path if folder else None)
    except ssl.SSLError as error:
        raise RecipeError(f"{settings.cert} holds no certificates: {error}") from error
