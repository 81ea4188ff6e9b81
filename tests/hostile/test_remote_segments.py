"""Segments of a remote store that are not right: a build makes them itself, and ends in the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.hostile import Room, accepted, refused
from tests.helpers.hostile_stores import by_team, strange
from tests.helpers.remote_project import RemoteProject
from tests.helpers.trust import Team

# -- segments --------------------------------------------------------------------------------------


def checked(body: bytes) -> bytes:
    """Return facts of any bytes with their right checksum, as a segment has them."""
    right = hashlib.sha256(body).hexdigest().encode() + b"\n" + body
    return b"%d\n" % len(right) + right


Harm = Callable[[RemoteProject, str], object]
"""What is done to the segment of a key."""


def read(project: RemoteProject, key: str) -> tuple[dict[str, Any], bytes]:
    """Return a segment's facts, and its literals."""
    digest = project.statement("segments", key)["subject"][0]["digest"]["sha256"]
    length, _, rest = project.path("blobs", digest).read_bytes().partition(b"\n")
    found: dict[str, Any] = json.loads(rest[: int(length)].partition(b"\n")[2])
    return found, rest[int(length) :]


def facts(change: Callable[[dict[str, Any]], object], by: Callable[[RemoteProject], Team] = by_team) -> Harm:
    """Change the facts of a segment, and make their checksum right."""

    def harm(project: RemoteProject, key: str) -> None:
        found, literals = read(project, key)
        change(found)
        body = json.dumps(found, separators=(",", ":"), sort_keys=True).encode()
        project.say("segments", key, checked(body) + literals, by(project))

    return harm


def fact(key: str, value: object) -> Harm:
    """Put another value in the place of one fact."""
    return facts(lambda found: found.update({key: value}))


def cell(key: str, column: int, value: object) -> Harm:
    """Put another value into the first row of a list of facts."""
    return facts(lambda found: found[key][0].__setitem__(column, value))


def blob(body: bytes) -> Harm:
    """Have the team sign any bytes as a segment."""
    return lambda project, key: project.say("segments", key, body, project.team)


def add_file(data: dict[str, Any]) -> None:
    """Add a file, as somebody does who wants code in an archive."""
    data["files"].append(["lib/python3.11/site-packages/evil.pth", 0o644, 9, "0" * 64, None, None])


SEGMENTS: list[tuple[str, Harm]] = [
    ("a-file-more", facts(add_file, strange)),
    ("unsigned", lambda project, key: project.write("segments", key, b"0" * 64 + b"\nbody")),
    ("nothing", lambda project, key: project.write("segments", key, b"")),
    ("empty", blob(b"")),
    ("no-length", blob(b"x" * 1000)),
    ("negative-length", blob(b"-5\nxxxxx")),
    ("signed-length", blob(b"+5\nxxxxx")),
    ("long-length", blob(b"9" * 1000 + b"\n")),
    ("length-beyond", blob(b"999999999999\nx")),
    ("length-in-other-digits", blob("\N{ARABIC-INDIC DIGIT FIVE}\nxxxxx".encode())),
    ("no-facts", blob(b"0\n")),
    ("facts-no-json", blob(checked(b"{"))),
    ("facts-deep", blob(checked(b"[" * 10**6))),
    ("facts-list", blob(checked(b"[]"))),
    ("facts-empty", blob(checked(b"{}"))),
    ("checksum", blob(b"70\n" + b"0" * 64 + b"\n{}   ")),
    ("key-of-another", fact("key", "0" * 64)),
    ("key-number", fact("key", 7)),
    ("label-escape", fact("label", "\x1b[2J")),
    ("artifact", fact("artifact", "../../x")),
    ("size", fact("size", -1)),
    ("size-large", fact("size", 10**30)),
    ("pieces-none", fact("pieces", None)),
    ("pieces-flat", fact("pieces", [1, 2])),
    ("pieces-short", facts(lambda found: found["pieces"][0].pop())),
    ("pieces-negative", facts(lambda found: found["pieces"].append([-5, 0, 0, 0, 0]))),
    ("pieces-float", cell("pieces", 2, 1e30)),
    ("pieces-true", cell("pieces", 0, True)),
    ("literals", facts(lambda found: found["pieces"].append([10**9, 0, 0, 0, 0]))),
    ("file-path", cell("files", 0, "../../x")),
    ("file-root", cell("files", 0, "/etc/x")),
    ("file-mode", cell("files", 1, "rw")),
    ("file-size", cell("files", 2, -1)),
    ("file-digest", cell("files", 3, "0")),
    ("file-link", cell("files", 4, [])),
    ("file-elf", cell("files", 5, {"needs": 1})),
    ("files-flat", fact("files", ["lib/x"])),
    ("omitted", fact("omitted", [[]])),
    ("excluded", fact("excluded", [[1, 2, 3]])),
]
KEYS = 3
"""A build has three segments: of the base, of its activation, of the wheel; each run harms them in three ways."""
RUNS = [SEGMENTS[first : first + KEYS] for first in range(0, len(SEGMENTS), KEYS)]


@pytest.mark.parametrize("harms", RUNS, ids=lambda harms: "+".join(name for name, _ in harms))
def test_a_build_makes_what_is_not_right_itself(
    project: RemoteProject, room: Room, harms: list[tuple[str, Harm]]
) -> None:
    keys = sorted(path.name for path in (project.remote / "segments").glob("*/*"))
    assert len(keys) == KEYS
    for key, (_, harm) in zip(keys, harms, strict=True):
        harm(project, key)
    outcome = room.run("build", "small", "--json")
    accepted(outcome, may_write=["work/envs"])
    (report,) = json.loads(outcome.stdout)
    assert (report["sha256"], report["segments_made"]) == (project.sha256, KEYS), str(outcome)


def test_without_a_trusted_key_artifacts_alone_are_taken(project: RemoteProject, room: Room) -> None:
    (project.folder / "envbuilder.toml").write_text('store = "remote"\nno-index = true\n')
    outcome = room.run("build", "small", "--json", "-q")
    accepted(outcome, may_write=["work/envs"])
    (report,) = json.loads(outcome.stdout)
    assert (report["sha256"], report["segments_made"]) == (project.sha256, KEYS), str(outcome)
    told = room.run("build", "small", "-o", "again", env={"ENVBUILDER_CACHE": str(room.store / "fresh")})
    accepted(told, may_write=["work/again"])
    note = (
        f"{project.url}: only artifacts are downloaded from it; everything else is built here, because no key"
    )
    assert told.stderr.count(note) == 1, str(told)
    line = f"error: only artifacts are accepted from {project.url}: no key is trusted for anything else"
    for name in ("small", "small:stable", f"small-{project.sha256[:12]}.tar.gz", project.sha256[:12]):
        refused(room.run("pull", name), 2, line)


def test_what_a_trusted_key_signed_is_taken(project: RemoteProject, room: Room) -> None:
    (project.folder / "wheels" / "alpha-1.0-py3-none-any.whl").unlink()
    outcome = room.run("build", "small", "--json")
    accepted(outcome, may_write=["work/envs"])
    (report,) = json.loads(outcome.stdout)
    assert (report["sha256"], report["segments_made"]) == (project.sha256, 0), str(outcome)
