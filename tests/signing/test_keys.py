from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, rsa

from envbuilder.errors import RecipeError
from envbuilder.signing.keys import PASSPHRASE, load_signer
from envbuilder.signing.verifier import load_verifier
from tests.helpers.authority import write_key


def test_a_passphrase_comes_from_the_environment(tmp_path: Path) -> None:
    write_key(tmp_path, "key", passphrase="open sesame")
    path = tmp_path / "key.pem"
    load_signer(path, {PASSPHRASE: "open sesame"})
    with pytest.raises(RecipeError) as caught:
        load_signer(path, {})
    assert str(caught.value) == f"the key {path} has a passphrase\n  hint: set {PASSPHRASE}"
    with pytest.raises(RecipeError) as caught:
        load_signer(path, {PASSPHRASE: "wrong"})
    assert str(caught.value) == f"the passphrase in {PASSPHRASE} is wrong for the key {path}"
    write_key(tmp_path, "bare")
    load_signer(tmp_path / "bare.pem", {PASSPHRASE: "of another key"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "the key {path} cannot be read: No such file or directory"),
        (b"no key", "{path} is not a private key"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "{path} is in cosign's own key format"),
    ],
)
def test_what_is_no_private_key(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_signer(path, {})
    assert caught.value.message == said.format(path=path)


def test_weak_and_unknown_keys_are_refused(tmp_path: Path) -> None:
    write_key(tmp_path, "short", rsa.generate_private_key(65537, 1024))
    with pytest.raises(RecipeError, match=r"short\.pub is RSA with 1024 bits; at least 2048 are required"):
        load_verifier(tmp_path / "short.pub")
    write_key(tmp_path, "dsa", dsa.generate_private_key(1024))
    with pytest.raises(RecipeError, match=r"dsa\.pem is of an unknown kind"):
        load_signer(tmp_path / "dsa.pem", {})
