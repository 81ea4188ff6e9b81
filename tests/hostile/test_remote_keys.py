"""Keys that are none: of those who are trusted about a remote store, and of those who push."""

from __future__ import annotations

import os
import re

import pytest

from tests.helpers.hostile import Room, accepted, refused
from tests.helpers.hostile_stores import Case, Change
from tests.helpers.remote_project import RemoteProject

# -- keys ------------------------------------------------------------------------------------------


def key_file(content: bytes | None) -> Change:
    """Put *content* into the file that ``store-trust`` names; None: a FIFO."""

    def change(project: RemoteProject) -> None:
        project.team.public.unlink()
        if content is None:
            os.mkfifo(project.team.public)
        else:
            project.team.public.write_bytes(content)

    return change


def trusts(value: str) -> Change:
    """Write another ``store-trust`` into ``envbuilder.toml``."""
    return lambda project: (
        (project.folder / "envbuilder.toml").write_text(f'store = "remote"\nstore-trust = {value}\n'),
        None,
    )[1]


PEM = b"-----BEGIN %s-----\nMCowBQYDK2VwAyEA\n-----END %s-----\n"
TRUST = r".*/envbuilder\.toml: store-trust"
KEYS = [
    Case(
        name="gone",
        change=lambda p: p.team.public.unlink(),
        line=TRUST + r": .*team\.pub cannot be read: No such .*",
    ),
    Case(
        name="fifo",
        change=key_file(None),
        line=TRUST + r": .*team\.pub cannot be read: is a FIFO, not a file",
    ),
    Case(name="nothing", change=key_file(b""), line=TRUST + r": .*team\.pub is not a public key"),
    Case(
        name="noise",
        change=key_file(bytes(range(256)) * 9000),
        line=TRUST + r": .*team\.pub is not a public key",
    ),
    Case(
        name="private",
        change=key_file(PEM % (b"PRIVATE KEY", b"PRIVATE KEY")),
        line=TRUST + r": .*team\.pub is a private key; expected a public key",
    ),
    Case(
        name="certificate",
        change=key_file(PEM % (b"CERTIFICATE", b"CERTIFICATE")),
        line=TRUST + r": .*team\.pub: expected a public key, found certificate",
    ),
    Case(
        name="broken",
        change=key_file(PEM % (b"PUBLIC KEY", b"PUBLIC KEY")),
        line=r".*/team\.pub is not a public key",
    ),
    Case(name="number", change=trusts("7"), line=TRUST + " must be text, found 7"),
    Case(name="lists", change=trusts("[[]]"), line=TRUST + r" must be text, found \[\]"),
    Case(name="blank", change=trusts('" "'), line=TRUST + " must be text, found ' '"),
    Case(
        name="address", change=trusts('"https://example.org/key"'), line=TRUST + " must be a file, found .*"
    ),
    Case(
        name="inline", change=trusts("'''-----BEGIN PUBLIC KEY-----'''"), line=TRUST + " is not a public key"
    ),
]


@pytest.mark.parametrize("case", KEYS, ids=lambda case: case.name)
def test_keys_that_are_none(project: RemoteProject, room: Room, case: Case) -> None:
    case.change(project)
    refused(room.run("pull", "small"), 2, re.compile(f"error: {case.line}"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "uploads to a remote store must be signed, but no key is configured"),
        (b"", r"the key .*/gone\.pem cannot be read: No such file or directory"),
        (b"x", r".*/own\.pem is not a private key"),
        (PEM % (b"PRIVATE KEY", b"PRIVATE KEY"), r".*/own\.pem is not a private key"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", r".*/own\.pem is in cosign's own key format"),
    ],
)
def test_nothing_is_pushed_without_a_key(
    project: RemoteProject, room: Room, content: bytes | None, line: str
) -> None:
    accepted(room.run("pull", "other"), may_write=["work/envs"])
    env = {}
    if content is not None:
        path = project.folder / ("own.pem" if content else "gone.pem")
        if content:
            path.write_bytes(content)
        env["ENVBUILDER_STORE_KEY"] = str(path)
    refused(room.run("push", f"other-{project.other[:12]}", env=env), 2, re.compile(f"error: {line}"))
    refused(room.run("push", "small", env=env), 2, re.compile(f"error: {line}"))
