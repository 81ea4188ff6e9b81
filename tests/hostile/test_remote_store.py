"""Objects of a remote store that are none, or that nobody signed who may be believed, and statements that are wrong."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuilder.store.signed import PREDICATE_TYPE, SignedKind
from tests.helpers.hostile import Room, refused
from tests.helpers.hostile_stores import RECORD, Case, Change, strange
from tests.helpers.remote_project import RemoteProject

# -- objects that are none, or that nobody signed who counts ---------------------------------------


def text(body: bytes) -> Change:
    """Put *body* in the place of the build's record."""
    return lambda project: project.write("builds", project.key, body)


def envelope(**changes: Any) -> Change:
    """Change fields of the record's envelope; None drops one."""

    def change(project: RemoteProject) -> None:
        found = json.loads(project.path("builds", project.key).read_bytes()) | changes
        kept = {key: value for key, value in found.items() if value is not None}
        project.write("builds", project.key, json.dumps(kept).encode())

    return change


def by_stranger(*, keyid: str | None = None) -> Change:
    """Have a stranger sign the very record, who calls their key *keyid* (``trusted``: as the trusted one)."""

    def change(project: RemoteProject) -> None:
        payload = project.payload("builds", project.key)
        project.sign("builds", project.key, payload, strange(project))
        if keyid is not None:
            path = project.path("builds", project.key)
            found = json.loads(path.read_bytes())
            found["signatures"][0]["keyid"] = project.team.keyid if keyid == "trusted" else keyid
            path.write_text(json.dumps(found))

    return change


def special(make: Callable[[Path], None]) -> Change:
    """Put something that is no file in the place of the record."""

    def change(project: RemoteProject) -> None:
        path = project.path("builds", project.key)
        path.unlink()
        make(path)

    return change


def moved(kind: SignedKind, name: Callable[[RemoteProject], str]) -> Change:
    """Put another object of the store, rightly signed, in the place of the record."""

    def change(project: RemoteProject) -> None:
        project.write("builds", project.key, project.path(kind, name(project)).read_bytes())

    return change


NO_OBJECT = rf"{RECORD} is not a signed object: it is not a DSSE envelope of a statement: "
OBJECTS = [
    Case(name="empty", change=text(b""), line=NO_OBJECT + r"is not JSON: .*"),
    Case(name="zeros", change=text(bytes(1000)), line=NO_OBJECT + r"is not JSON: .*"),
    Case(name="half", change=text(b'{"payload": "e30=", "payloadT'), line=NO_OBJECT + r"is not JSON: .*"),
    Case(name="huge", change=text(b" " * 10**7), line=NO_OBJECT + r"is larger than 131.1 kB.*"),
    Case(name="deep", change=text(b"[" * 10**5), line=NO_OBJECT + r"has more than 1,000 objects and lists"),
    Case(name="deep-objects", change=text(b'{"a":' * 900), line=NO_OBJECT + r".*(nested|deep).*"),
    Case(name="many-lists", change=text(b"[" + b"[]," * 30_000 + b"[]]"), line=NO_OBJECT + r".+"),
    Case(name="latin-1", change=text(b'{"payload": "\xe9"}'), line=NO_OBJECT + r"is not UTF-8: .*"),
    Case(name="utf-16", change=text("{}".encode("utf-16")), line=NO_OBJECT + r"is not UTF-8: .*"),
    Case(name="a-list", change=text(b"[]"), line=NO_OBJECT + r"expected an object, found an empty list"),
    Case(name="a-number", change=text(b"1" * 100_000), line=NO_OBJECT + r".+"),
    Case(name="not-a-number", change=text(b'{"payload": NaN}'), line=NO_OBJECT + r".*NaN.*"),
    Case(name="a-key-twice", change=text(b'{"payload": "", "payload": ""}'), line=NO_OBJECT + r".*payload.*"),
    Case(name="null", change=text(b"null"), line=NO_OBJECT + r"expected an object, found null"),
    Case(
        name="of-an-older-store",
        change=text(b"0" * 64 + b'\n{"archive": "x"}'),
        line=NO_OBJECT + r"is not JSON: .*",
    ),
    Case(name="no-payload", change=envelope(payload=None), line=NO_OBJECT + r"payload: is missing.*"),
    Case(name="payload-number", change=envelope(payload=17), line=NO_OBJECT + r"payload: .*found 17"),
    Case(name="payload-deep", change=envelope(payload=[[[[]]]]), line=NO_OBJECT + r"payload: .*"),
    Case(name="no-base64", change=envelope(payload="%%%"), line=NO_OBJECT + r"payload: is not base64: .*"),
    Case(
        name="no-signatures", change=envelope(signatures=None), line=NO_OBJECT + r"signatures: is missing.*"
    ),
    Case(name="signatures-text", change=envelope(signatures="x"), line=NO_OBJECT + r"signatures: .*"),
    Case(name="signatures-texts", change=envelope(signatures=["x"]), line=NO_OBJECT + r"signatures\[0\]: .*"),
    Case(
        name="a-thousand-signatures",
        change=envelope(signatures=[{"keyid": "", "sig": ""}] * 900),
        line=NO_OBJECT + r"signatures: expected at most 32 items, found 900",
    ),
    Case(
        name="signature-no-base64",
        change=envelope(signatures=[{"keyid": "", "sig": "\x1b[2J"}]),
        line=NO_OBJECT + r"signatures\[0\]\.sig: is not base64: .*",
    ),
    Case(name="type-list", change=envelope(payloadType=[]), line=NO_OBJECT + r"payloadType: .*"),
    Case(
        name="signed-by-nobody",
        change=envelope(signatures=[]),
        line=rf"{RECORD} is signed by nobody, not by the trusted key [0-9a-f]{{12}}",
    ),
    Case(
        name="signed-by-a-stranger",
        change=by_stranger(),
        line=rf"{RECORD} is signed by [0-9a-f]{{12}}, not by the trusted key [0-9a-f]{{12}}",
    ),
    Case(
        name="signed-in-anothers-name",
        change=by_stranger(keyid="trusted"),
        line=rf"{RECORD} was changed after [0-9a-f]{{12}} signed it",
    ),
    Case(
        name="signed-by-escape-codes",
        change=by_stranger(keyid="\x1b]0;\x07\u202e\udcff"),
        line=rf"{RECORD} is signed by \\(u00|x)1b\]0;\\(u00|x)07\\u202e\\(udcff|xff), not by the trusted key .*",
    ),
    Case(
        name="edited",
        change=envelope(payload=base64.b64encode(b"{}").decode()),
        line=rf"{RECORD} was changed after [0-9a-f]{{12}} signed it",
    ),
    Case(
        name="another-type-than-was-signed",
        change=envelope(payloadType="text/plain"),
        line=rf"{RECORD} was changed after [0-9a-f]{{12}} signed it",
    ),
    Case(
        name="a-manifest-as-a-record",
        change=moved("manifests", lambda project: project.sha256),
        line=rf"{RECORD}: subject\[0\]\.name: is manifests/[0-9a-f]{{64}}: it was signed under that name, .*",
    ),
    Case(
        name="an-alias-as-a-record",
        change=moved("aliases", lambda _: "small/stable/00000002"),
        line=rf"{RECORD}: subject\[0\]\.name: is aliases/small/stable/00000002: .*",
    ),
    Case(
        name="a-folder",
        change=special(Path.mkdir),
        line=rf"{RECORD}: .*(Is a directory|is a folder).*",
        code=4,
    ),
    Case(name="a-fifo", change=special(os.mkfifo), line=rf"{RECORD}: is a FIFO, not a file", code=4),
    Case(
        name="a-link-to-itself",
        change=special(lambda path: path.symlink_to(path.name)),
        line=rf"{RECORD}: .*[Tt]oo many levels of symbolic links.*",
        code=4,
    ),
    Case(
        name="zeros-without-end",
        change=special(lambda path: path.symlink_to("/dev/zero")),
        line=rf"{RECORD}: is a character device, not a file",
        code=4,
    ),
]


# -- statements that a trusted key signed, and that are wrong --------------------------------------


def stated(**changes: Any) -> Change:
    """Have the team sign another statement in the place of the record's: fields changed, or None dropped."""

    def change(project: RemoteProject) -> None:
        found = project.statement("builds", project.key) | changes
        kept = {key: value for key, value in found.items() if value is not None}
        project.sign("builds", project.key, kept, project.team)

    return change


def subject(**changes: Any) -> Change:
    """Change fields of the statement's subject; None drops one."""

    def change(project: RemoteProject) -> None:
        found = project.statement("builds", project.key)["subject"][0] | changes
        kept = {key: value for key, value in found.items() if value is not None}
        stated(subject=[kept])(project)

    return change


def signed(payload: bytes) -> Change:
    """Have the team sign any bytes."""
    return lambda project: project.sign("builds", project.key, payload, project.team)


def as_provenance(project: RemoteProject) -> None:
    """A provenance that the same key signed, of which the name is a record's."""
    stated(predicateType="https://slsa.dev/provenance/v1")(project)


BAD_SIZES: tuple[object, ...] = (-1, 10**30, 1e30, True, "7", [])
STATEMENTS = [
    Case(name="no-json", change=signed(b"\x1b[31m"), line=rf"{RECORD}: is not JSON: .*"),
    Case(name="list", change=signed(b"[1]"), line=rf"{RECORD}: expected an object, found a list of 1"),
    Case(name="deep-statement", change=signed(b"[" * 900), line=rf"{RECORD}: .*(nested|deep).*"),
    Case(
        name="provenance",
        change=as_provenance,
        line=rf"{RECORD}: predicateType: expected '{PREDICATE_TYPE}'.*",
    ),
    Case(name="type", change=stated(_type=None), line=rf"{RECORD}: _type: is missing.*"),
    Case(name="predicate", change=stated(predicate=[]), line=rf"{RECORD}: predicate: expected an object.*"),
    Case(name="content", change=stated(predicate={}), line=rf"{RECORD}: predicate\.content: .*"),
    Case(
        name="content-other",
        change=stated(predicate={"content": "{}"}),
        line=rf"{RECORD}: predicate\.content: does not match its sha256",
    ),
    Case(
        name="content-long",
        change=stated(predicate={"content": "x" * 5000}),
        line=rf"{RECORD}: predicate\.content: .*at most 4096 characters.*",
    ),
    Case(name="no-subject", change=stated(subject=[]), line=rf"{RECORD}: subject: is empty"),
    Case(name="subjects", change=stated(subject=[{}] * 9), line=rf"{RECORD}: subject: expected at most 2.*"),
    Case(
        name="subject-text",
        change=stated(subject=["x"]),
        line=rf"{RECORD}: subject\[0\]: expected an object.*",
    ),
    Case(name="digest", change=subject(digest=None), line=rf"{RECORD}: subject\[0\]\.digest: is missing.*"),
    Case(
        name="digest-short",
        change=subject(digest={"sha256": "0" * 63}),
        line=rf"{RECORD}: subject\[0\]\.digest\.sha256: expected 64 hex digits, found '0+'…",
    ),
    Case(
        name="digest-upper",
        change=subject(digest={"sha256": "A" * 64}),
        line=rf"{RECORD}: subject\[0\]\.digest\.sha256: expected 64 hex digits.*",
    ),
    Case(
        name="size-none",
        change=subject(annotations={}),
        line=rf"{RECORD}: subject\[0\]\.annotations\.size: .*",
    ),
    *(
        Case(
            name=f"size-{size}",
            change=subject(annotations={"size": size}),
            line=rf"{RECORD}: subject\[0\]\.annotations\.size: expected an integer.*",
        )
        for size in BAD_SIZES
    ),
]


@pytest.mark.parametrize("case", [*OBJECTS, *STATEMENTS], ids=lambda case: case.name)
def test_pull_takes_nothing_that_is_not_right(project: RemoteProject, room: Room, case: Case) -> None:
    case.change(project)
    outcome = room.run("pull", "small")
    refused(outcome, case.code, re.compile(f"error: {re.escape(project.url)}/{case.line}"))
