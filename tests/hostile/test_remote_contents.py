"""Records and manifests that a trusted key signed: nonsense, or of something else than was asked for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.hostile import Room, refused
from tests.helpers.hostile_stores import ANOTHER, MANIFEST, RECORD, Case, Change
from tests.helpers.remote_project import RemoteProject

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
        line=rf"{RECORD}: archive: expected .*\\(u00|x)1b\[2J.*",
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
        line=r"blobs/.* does not match its name: sha256 .*",
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


@pytest.mark.parametrize("case", CONTENTS, ids=lambda case: case.name)
def test_pull_takes_nothing_that_is_not_right(project: RemoteProject, room: Room, case: Case) -> None:
    case.change(project)
    outcome = room.run("pull", "small")
    refused(outcome, case.code, re.compile(f"error: {re.escape(project.url)}/{case.line}"))


def test_an_archive_larger_than_the_disk(project: RemoteProject, room: Room) -> None:
    archive_of(10**12)(project)
    line = r"error: no space left for envs/small-[0-9a-f]{12}\.tar\.gz: 1000\.00 GB are needed, .* are free"
    refused(room.run("pull", "small"), 4, re.compile(line))
