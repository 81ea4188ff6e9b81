"""Remote stores whose objects are signed, and who is trusted about them."""

from __future__ import annotations

from pathlib import Path

from envbuilder.config.values import StoreKey
from envbuilder.signing.keys import keyid, load_signer, new_signer, private_pem, public_pem
from envbuilder.store.remote import RemoteStore
from envbuilder.store.trust import Trust


class Team:
    """Somebody with a key of their own."""

    def __init__(self, folder: Path, name: str = "team") -> None:
        """Write ``NAME.pem`` and ``NAME.pub`` into *folder*, unless they are there."""
        folder.mkdir(parents=True, exist_ok=True)
        self.private = folder / f"{name}.pem"
        self.public = folder / f"{name}.pub"
        if not self.private.exists():
            signer = new_signer("a test")
            self.private.write_text(private_pem(signer))
            self.public.write_text(public_pem(signer))
        self.signer = load_signer(self.private, {})

    @property
    def keyid(self) -> str:
        """The id of the key."""
        return keyid(self.signer.public_key())

    @property
    def store_key(self) -> StoreKey:
        """What ``store-trust`` makes of the public key."""
        return StoreKey(origin=str(self.public), pem=self.public.read_text())

    def writes(self, url: str, *trusted: Team) -> RemoteStore:
        """Return the store at *url* as this team sees it, which trusts itself and *trusted*."""
        trust = Trust([team.store_key for team in trusted], key=self.private)
        return RemoteStore(url, trust=trust)

    def is_trusted(self, url: str) -> RemoteStore:
        """Return the store at *url* to somebody who has no key and trusts this team."""
        return RemoteStore(url, trust=Trust([self.store_key]))


def reopened(remote: RemoteStore) -> RemoteStore:
    """Return the same store to somebody who trusts the same and knows nothing of it yet."""
    return RemoteStore(remote.url, trust=remote.trust)
