"""Trust in a remote store: the trusted public keys, and this machine's signing key.

Artifacts need no signature, as the lock contains their hash. Everything else in a remote store could have been written
by anyone with write access: it is accepted only if a trusted key signed it under its own name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from envbuilder.config.values import StoreKey
from envbuilder.errors import RecipeError
from envbuilder.signing.dsse import Envelope
from envbuilder.signing.keys import (
    is_signed_by,
    keyid,
    load_signer,
    parse_public_key,
    parse_signer,
)
from envbuilder.util.printable import printable_line

KEY_VARIABLE: Final = "ENVBUILDER_STORE_KEY"
"""The environment variable with the path of the private key for signing uploads."""
_VERB: Final = "a signed remote store"


class Trust:
    """The trusted keys and the own key, which is trusted too. Loaded on first use. Thread-safe.

    Using a store only for artifacts requires neither keys nor ``cryptography``.
    """

    def __init__(self, keys: Sequence[StoreKey] = (), *, key: Path | str | None = None) -> None:
        """Trust *keys*; sign with the private *key*: a file, or the PEM text of a temporary key."""
        self._named = tuple(keys)
        self._key = key
        self._signer: Any = None
        self._trusted: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        """Whether any key is trusted."""
        return bool(self._named) or self._key is not None

    @property
    def can_sign(self) -> bool:
        """Whether there is an own key."""
        return self._key is not None

    def signer(self) -> Any:
        """Return the own private key.

        Raises:
            RecipeError: there is none, it cannot be loaded, or ``cryptography`` is not installed.
        """
        if self._key is None:
            raise RecipeError(
                "uploads to a remote store must be signed, but no key is configured",
                hint=f"set {KEY_VARIABLE} to its file; `openssl genpkey -algorithm ed25519 -out store.pem` creates one",
            )
        if self._signer is None:
            self._signer = (
                load_signer(self._key, verb=_VERB)
                if isinstance(self._key, Path)
                else parse_signer(self._key.encode(), "of this run", verb=_VERB)
            )
        return self._signer

    @property
    def trusted(self) -> Mapping[str, Any]:
        """The trusted public keys by id.

        Raises:
            RecipeError: one is invalid, or ``cryptography`` is not installed.
        """
        if self._trusted is None:
            keys = [parse_public_key(one.pem.encode(), one.origin, verb=_VERB) for one in self._named]
            if self.can_sign:
                keys.append(self.signer().public_key())
            self._trusted = {keyid(key): key for key in keys}
        return self._trusted

    def objection(self, envelope: Envelope) -> str | None:
        """Return why an envelope is not trusted; None if a trusted key signed it. Order is irrelevant.

        Raises:
            RecipeError: see :attr:`trusted`.
        """
        data = envelope.signed()
        changed = []
        for one in envelope.signatures:
            key = self.trusted.get(one.keyid)
            if key is None:
                continue
            if is_signed_by(key, one.signature, data):
                return None
            changed.append(one.keyid[:12])
        if changed:
            return f"was changed after {' and '.join(changed)} signed it"
        names = ", ".join(
            printable_line(one.keyid[:12]) or "a key without a name" for one in envelope.signatures
        )
        return f"is signed by {names or 'nobody'}, not by {self.described()}"

    def is_enough(self, envelope: Envelope) -> bool:
        """Whether an envelope needs no own signature: it has one, or the own key is temporary and it is trusted."""
        if not isinstance(self._key, Path) and self.objection(envelope) is None:
            return True
        own = self.signer().public_key()
        name, data = keyid(own), envelope.signed()
        return any(
            one.keyid == name and is_signed_by(own, one.signature, data) for one in envelope.signatures
        )

    def described(self) -> str:
        """Return the trusted keys, for errors."""
        names = [name[:12] for name in self.trusted]
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        return (
            f"the trusted key {listed}" if len(names) == 1 else f"one of {len(names)} trusted keys: {listed}"
        )


def open_trust(
    keys: Sequence[StoreKey], *, key: str | None = None, environ: Mapping[str, str] = os.environ
) -> Trust:
    """Trust *keys*, and sign with the private *key* (PEM), or with the key file that the environment names."""
    named = environ.get(KEY_VARIABLE)
    return Trust(keys, key=key if key is not None else Path(named) if named else None)
