from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec

from envbuilder import api
from envbuilder.cli import cli
from envbuilder.cli.commands import VERBS
from envbuilder.errors import RecipeError
from envbuilder.provenance.envelope import provenance_beside, statement_beside
from envbuilder.signing.verifier import load_verifier
from tests.helpers.authority import write_key
from tests.helpers.environments import environment, pack
from tests.helpers.provenances import statement_of


def call(*args: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], env=env)


# -- keys ------------------------------------------------------------------------------------------


def test_names_that_are_no_utf_8(tmp_path: Path, key: Any) -> None:
    tree = environment() | {"lib/caf\udce9": b"x"}
    packed = pack(tree, tmp_path, listed=tree)
    archive = packed.rename(packed.with_name(f"caf\udce9-{packed.name}"))
    signed = api.attest(archive, key=tmp_path / "key.pem")
    assert statement_of(signed)["subject"][0]["name"] == archive.name


def test_openssl_agrees_about_a_signature(archive: Path, tmp_path: Path) -> None:
    write_key(tmp_path, "key", ec.generate_private_key(ec.SECP256R1()))
    envelope = json.loads(api.attest(archive, key=tmp_path / "key.pem").read_text())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    signed = tmp_path / "signed"
    signed.write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    check_it = [
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        tmp_path / "key.pub",
        "-signature",
        tmp_path / "sig",
        signed,
    ]
    done = subprocess.run([*map(str, check_it)], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("Verified OK\n", 0)


def test_no_option_takes_a_secret() -> None:
    commands = [cli.get_command(click.Context(cli), verb) for verb in VERBS]
    options = [option for command in commands if command for one in command.params for option in one.opts]
    assert len(options) > 60
    assert [one for one in options if any(word in one for word in ("pass", "secret", "token"))] == []


def test_what_is_no_public_key(tmp_path: Path, key: Any) -> None:
    with pytest.raises(RecipeError, match=r"key\.pem is a private key; expected a public key"):
        load_verifier(tmp_path / "key.pem")
    (tmp_path / "none.pub").write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(RecipeError, match=r"none\.pub is neither a public key nor a certificate"):
        load_verifier(tmp_path / "none.pub")


# -- certificates ----------------------------------------------------------------------------------


def test_a_certificate_of_another_key_does_not_go_with_a_signature(
    archive: Path, tmp_path: Path, key: Any, authority: Any
) -> None:
    with pytest.raises(RecipeError, match=r"authority\.crt is for another key than the signing key"):
        api.attest(archive, key=tmp_path / "key.pem", certificate=tmp_path / "authority.crt")
    with pytest.raises(RecipeError, match=r"key\.pub is not a certificate"):
        api.attest(archive, key=tmp_path / "key.pem", certificate=tmp_path / "key.pub")


# -- verify ----------------------------------------------------------------------------------------


def test_the_commands(archive: Path, tmp_path: Path, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unsigned = call("attest", "-q", archive)
    assert unsigned.stdout == (
        f"wrote {statement_beside(archive)}; sign it, for instance with `cosign attest-blob --statement`\n"
    )
    result = call("verify", "-q", "--no-server", archive, "--provenance", "key.pub")
    assert result.exit_code == 7
    assert result.stderr == "error: 1 check failed: provenance.signature\n"
    signed = call("attest", "-q", archive, "--key", "key.pem")
    assert signed.stdout == f"wrote {provenance_beside(archive)}\n"
    assert call("attest", archive, "--certificate", "key.pub").exit_code == 2
    wrong = call("verify", "-q", archive, "--provenance", "gone.pub")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "error: the key gone.pub cannot be read: No such file or directory\n",
    )
