"""Whom this machine believes about a remote store: public keys that it trusts, and the key that it signs with itself.

What everybody can check by a hash that the lock names (an artifact) needs no signature. Everything else in a remote
store was made by somebody, and whoever can write there could have made it: it counts only where a trusted key signed
it, under its own name.
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
"""The variable that names the file with the private key that signs what goes to a remote store."""
_VERB: Final = "a signed remote store"


class Trust:
    """Trusted keys and an own one, whose signatures count too. Read when they are first needed. Thread-safe.

    Whoever uses a store only for artifacts needs neither keys nor ``cryptography``.
    """

    def __init__(self, keys: Sequence[StoreKey] = (), *, key: Path | str | None = None) -> None:
        """Trust *keys*; sign with the private *key*: a file, or the text (PEM) of a key that ends with a run."""
        self._named = tuple(keys)
        self._key = key
        self._signer: Any = None
        self._trusted: Mapping[str, Any] | None = None

    def __bool__(self) -> bool:
        """Whether anybody is trusted."""
        return bool(self._named) or self._key is not None

    @property
    def can_sign(self) -> bool:
        """Whether there is an own key."""
        return self._key is not None

    def signer(self) -> Any:
        """Return the own private key.

        Raises:
            RecipeError: there is none, it cannot be read, or ``cryptography`` is not installed.
        """
        if self._key is None:
            raise RecipeError(
                "what goes to a remote store is signed, and no key is named",
                hint=f"{KEY_VARIABLE} names its file; `openssl genpkey -algorithm ed25519 -out store.pem` makes one",
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
        """The public keys whose signatures count, by their ids.

        Raises:
            RecipeError: one is none, or ``cryptography`` is not installed.
        """
        if self._trusted is None:
            keys = [parse_public_key(one.pem.encode(), one.origin, verb=_VERB) for one in self._named]
            if self.can_sign:
                keys.append(self.signer().public_key())
            self._trusted = {keyid(key): key for key in keys}
        return self._trusted

    def objection(self, envelope: Envelope) -> str | None:
        """Say why an envelope is not believed; None: a trusted key signed it. The order of signatures is nothing.

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
        """Whether an envelope needs no signature of the own key: it has one, or that key ends and another counts."""
        if not isinstance(self._key, Path) and self.objection(envelope) is None:
            return True
        own = self.signer().public_key()
        name, data = keyid(own), envelope.signed()
        return any(
            one.keyid == name and is_signed_by(own, one.signature, data) for one in envelope.signatures
        )

    def described(self) -> str:
        """Say who is trusted, for an error."""
        names = [name[:12] for name in self.trusted]
        listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        return (
            f"the trusted key {listed}" if len(names) == 1 else f"one of {len(names)} trusted keys: {listed}"
        )


def open_trust(
    keys: Sequence[StoreKey], *, key: str | None = None, environ: Mapping[str, str] = os.environ
) -> Trust:
    """Trust *keys*, and sign with the private *key* (PEM), or else with the one whose file the environment names."""
    named = environ.get(KEY_VARIABLE)
    return Trust(keys, key=key if key is not None else Path(named) if named else None)
