"""Remote stores in which somebody wrote who may not be believed, or who is trusted and made a mess of it.

Each row harms a store that was right; then ``pull``, ``build`` or ``alias`` meet it as a user would.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envbuilder.base.interpreter import Interpreter
from envbuilder.store.signed import PREDICATE_TYPE, SignedKind
from tests.helpers.hostile import Room, refused
from tests.helpers.remote_project import RemoteProject, make_remote_project
from tests.helpers.trust import Team

Change = Callable[[RemoteProject], None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A store that was harmed, a command line, and how it must end."""

    name: str
    change: Change
    line: str
    """Pattern of the error's first line, after ``error: file://…/``, the address of the store."""
    run: tuple[str, ...] = ("pull", "small")
    code: int = 5


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory, python311: Interpreter) -> RemoteProject:
    """A store that is right. Not to be written to."""
    return make_remote_project(tmp_path_factory.mktemp("pushed"), python311)


@pytest.fixture
def project(pushed: RemoteProject, room: Room) -> RemoteProject:
    """A copy of it in the room."""
    return pushed.copy(room.work)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Somebody whom nobody trusts."""
    return Team(tmp_path_factory.mktemp("stranger"), "stranger")


# -- objects that are none, or that nobody signed who counts ---------------------------------------


def text(body: bytes) -> Change:
    """Put *body* in the place of the build's record."""
    return lambda project: (project.write("builds", project.key, body), None)[1]


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
        other = Team(project.folder.parent / "home", "stranger")
        project.sign("builds", project.key, project.payload("builds", project.key), other)
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


RECORD = r"builds/[0-9a-f]{2}/[0-9a-f]{64}"
NO_OBJECT = rf"{RECORD} is not a signed object: it is no envelope of a statement \(DSSE\): "
OBJECTS = [
    Case(name="empty", change=text(b""), line=NO_OBJECT + r"is not JSON: .*"),
    Case(name="zeros", change=text(bytes(1000)), line=NO_OBJECT + r"is not JSON: .*"),
    Case(name="half", change=text(b'{"payload": "e30=", "payloadT'), line=NO_OBJECT + r"is not JSON: .*"),
    Case(name="huge", change=text(b" " * 10**7), line=NO_OBJECT + r"is larger than 131.1 kB.*"),
    Case(name="deep", change=text(b"[" * 10**5), line=NO_OBJECT + r".*(nested|deep).*"),
    Case(name="deep-objects", change=text(b'{"a":' * 20_000), line=NO_OBJECT + r".*(nested|deep).*"),
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
        line=rf"{RECORD} is signed by \\x1b\]0;\\x07.*, not by the trusted key [0-9a-f]{{12}}",
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


_NOT_SIZES: tuple[object, ...] = (-1, 10**30, 1e30, True, "7", [])
STATEMENTS = [
    Case(name="no-json", change=signed(b"\x1b[31m"), line=rf"{RECORD}: is not JSON: .*"),
    Case(name="list", change=signed(b"[1]"), line=rf"{RECORD}: expected an object, found a list of 1"),
    Case(name="deep-statement", change=signed(b"[" * 9000), line=rf"{RECORD}: .*(nested|deep).*"),
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
        line=rf"{RECORD}: predicate\.content: is not what its sha256 says",
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
        line=rf"{RECORD}: subject\[0\]\.digest\.sha256: expected 64 hex digits, found '0+…?'",
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
        for size in _NOT_SIZES
    ),
]


# -- records and manifests of something else than was asked for ------------------------------------


def record(**changes: Any) -> Change:
    """Have the team sign another record of the build."""

    def change(project: RemoteProject) -> None:
        found = json.loads(project.statement("builds", project.key)["predicate"]["content"]) | changes
        kept = {key: value for key, value in found.items() if value is not None}
        project.say("builds", project.key, json.dumps(kept).encode(), project.team)

    return change


def record_of(sha256: Callable[[RemoteProject], str]) -> Change:
    """Have the team say that the build made another archive."""

    def change(project: RemoteProject) -> None:
        other = sha256(project)
        record(sha256=other, archive=f"small-{other[:12]}.tar.gz")(project)

    return change


def manifest(**changes: Any) -> Change:
    """Have the team sign another manifest of the archive."""

    def change(project: RemoteProject) -> None:
        found = dataclasses.replace(project.manifest, **changes).text().encode("utf-8", "replace")
        project.say("manifests", project.sha256, found, project.team, size=project.report.size)

    return change


def manifest_text(body: bytes) -> Change:
    """Have the team sign any bytes as the manifest of the archive."""
    return lambda project: project.say(
        "manifests", project.sha256, body, project.team, size=project.report.size
    )


def archive_of(size: int) -> Change:
    """Have the team say that the archive has *size* bytes."""

    def change(project: RemoteProject) -> None:
        body = project.manifest.text().encode()
        project.say("manifests", project.sha256, body, project.team, size=size)

    return change


def archive_bytes(body: Callable[[bytes], bytes]) -> Change:
    """Change the bytes of the archive in the store."""

    def change(project: RemoteProject) -> None:
        path = project.path("archives", project.sha256)
        path.write_bytes(body(path.read_bytes()))

    return change


def manifest_blob(body: Callable[[bytes], bytes] | None) -> Change:
    """Change the bytes of the manifest in the store; None: remove them."""

    def change(project: RemoteProject) -> None:
        text = project.manifest.text().encode()
        path = project.path("blobs", hashlib.sha256(text).hexdigest())
        if body is None:
            path.unlink()
        else:
            path.write_bytes(body(text))

    return change


def one_subject(project: RemoteProject) -> None:
    """A manifest that does not say which archive it is of."""
    found = project.statement("manifests", project.sha256)
    project.sign("manifests", project.sha256, found | {"subject": found["subject"][:1]}, project.team)


def subject_of_another(project: RemoteProject) -> None:
    """A manifest whose second subject is another archive."""
    found = project.statement("manifests", project.sha256)
    found["subject"][1]["digest"]["sha256"] = project.other
    project.sign("manifests", project.sha256, found, project.team)


MANIFEST = r"manifests/[0-9a-f]{2}/[0-9a-f]{64}"
ANOTHER = rf"{MANIFEST} is not what was asked for: "
CONTENTS = [
    Case(
        name="record-deep",
        change=lambda p: p.say("builds", p.key, b"[" * 4000, p.team),
        line=rf"{RECORD}: .*",
    ),
    Case(
        name="record-list",
        change=lambda p: p.say("builds", p.key, b"[]", p.team),
        line=rf"{RECORD}: expected an .*",
    ),
    Case(
        name="record-short",
        change=record(sha256="0" * 63),
        line=rf"{RECORD}: sha256: expected 64 hex digits.*",
    ),
    Case(
        name="record-prefix",
        change=record(sha256="0" * 12),
        line=rf"{RECORD}: sha256: expected 64 hex digits.*",
    ),
    Case(
        name="record-upper",
        change=record(sha256="F" * 64),
        line=rf"{RECORD}: sha256: expected 64 hex digits.*",
    ),
    Case(
        name="record-path",
        change=record(sha256="../" * 21 + "x"),
        line=rf"{RECORD}: sha256: expected 64 hex .*",
    ),
    Case(
        name="record-types", change=record(sha256=["0"]), line=rf"{RECORD}: sha256: expected 64 hex digits.*"
    ),
    Case(name="record-size", change=record(size=-5), line=rf"{RECORD}: size: expected an integer from 0.*"),
    Case(
        name="record-true",
        change=record(segments=True),
        line=rf"{RECORD}: segments: expected an integer from 0.*",
    ),
    Case(
        name="record-name",
        change=record(archive="../../x"),
        line=rf"{RECORD}: archive: expected an archive's .*",
    ),
    Case(
        name="record-escape",
        change=record(archive="\x1b[2J"),
        line=rf"{RECORD}: archive: expected .*\\x1b\[2J.*",
    ),
    Case(
        name="record-name-of-another",
        change=record(archive="small-0123456789ab.tar.gz"),
        line=rf"{RECORD}: archive: small-0123456789ab\.tar\.gz is not named by its sha256, .*",
    ),
    Case(name="record-missing", change=record(manifest=None), line=rf"{RECORD}: manifest: is missing.*"),
    Case(
        name="of-another-recipe",
        change=record_of(lambda project: project.other),
        line=ANOTHER + "recipe other, not small",
    ),
    Case(
        name="of-other-options",
        change=record_of(lambda project: project.older),
        line=ANOTHER + "other options of packing",
    ),
    Case(
        name="of-another-lock",
        change=manifest(lock_digest="0" * 64),
        line=ANOTHER + "lock 000000000000, not [0-9a-f]{12}",
    ),
    Case(
        name="of-another-release",
        change=manifest(release="25.06"),
        line=ANOTHER + r"release 25\.06, not pytriton-0\.7\.0",
    ),
    Case(
        name="of-an-older-recipe",
        change=manifest(recipe_digest="0" * 64),
        line=ANOTHER + "recipe digest 000000000000, not [0-9a-f]{12}",
    ),
    Case(name="manifest-path", change=manifest(recipe="../../x"), line=rf"{MANIFEST}.*x.*"),
    Case(name="manifest-newline", change=manifest(recipe="small\nx"), line=rf"{MANIFEST}.*small\\n.*"),
    Case(name="manifest-escape", change=manifest(recipe="\x1b[2Jx"), line=rf"{MANIFEST}.*"),
    Case(name="manifest-empty", change=manifest_text(b""), line=rf"{MANIFEST}.*"),
    Case(name="manifest-deep", change=manifest_text(b"[" * 10**6), line=rf"{MANIFEST}.*"),
    Case(name="manifest-list", change=manifest_text(b"[]"), line=rf"{MANIFEST}.*"),
    Case(name="manifest-missing", change=manifest_blob(None), line=r"blobs/.* is not there", code=4),
    Case(
        name="manifest-cut",
        change=manifest_blob(lambda data: data[:-9]),
        line=r"blobs/.*: broke off after \d+ of \d+ bytes",
        code=4,
    ),
    Case(
        name="manifest-changed",
        change=manifest_blob(lambda data: data[:-2] + b" }"),
        line=r"blobs/.* is not what its name says: sha256 .*",
    ),
    Case(name="one-subject", change=one_subject, line=rf"{MANIFEST}: subject: does not name the archive .*"),
    Case(
        name="another-subject",
        change=subject_of_another,
        line=rf"{MANIFEST}: subject\[1\]\.digest\.sha256: is another archive's",
    ),
    Case(
        name="archive-longer-than-said",
        change=archive_of(100),
        line=r"archives/.* has sha256 [0-9a-f]{64}, 100 bytes",
    ),
    Case(
        name="archive-shorter-than-said",
        change=archive_of(10**6),
        line=r"archives/.*: broke off after \d+ of 1000000 bytes",
        code=4,
    ),
    Case(
        name="archive-cut",
        change=archive_bytes(lambda data: data[: len(data) // 2]),
        line=r"archives/.*: broke off after \d+ of \d+ bytes",
        code=4,
    ),
    Case(
        name="archive-changed",
        change=archive_bytes(lambda data: data[:-1] + b"?"),
        line=r"archives/.* has sha256 [0-9a-f]{64}, \d+ bytes",
    ),
]


@pytest.mark.parametrize("case", [*OBJECTS, *STATEMENTS, *CONTENTS], ids=lambda case: case.name)
def test_pull_takes_nothing_that_is_not_right(project: RemoteProject, room: Room, case: Case) -> None:
    case.change(project)
    outcome = room.run(*case.run)
    refused(outcome, case.code, re.compile(f"error: {re.escape(project.url)}/{case.line}"))


def test_an_archive_larger_than_the_disk(project: RemoteProject, room: Room) -> None:
    archive_of(10**12)(project)
    line = r"error: no space left for envs/small-[0-9a-f]{12}\.tar\.gz: 1000\.00 GB are needed, .* are free"
    refused(room.run("pull", "small"), 4, re.compile(line))
