"""Names of archives in a remote store, and aliases: what they stand for, and what they may not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers.hostile import Room, accepted, refused
from tests.helpers.hostile_stores import ANOTHER, Case, Change, strange
from tests.helpers.remote_project import RemoteProject
from tests.helpers.trust import Team

# -- by other names --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["file", "stem", "path", "digest", "start", "alias", "recipe", "yaml"])
def test_every_name_of_an_archive_brings_it(project: RemoteProject, room: Room, what: str) -> None:
    name = f"small-{project.sha256[:12]}"
    names = {
        "file": f"{name}.tar.gz",
        "stem": name,
        "path": f"envs/{name}.tar.gz",
        "digest": project.sha256,
        "start": project.sha256[:20],
        "alias": "small:stable",
        "recipe": "small",
        "yaml": "recipes/small.yaml",
    }
    accepted(room.run("pull", names[what]), may_write=["work/envs"])
    assert (room.work / "envs" / f"{name}.tar.gz").is_file()


def test_an_archive_pushed_alone_is_found_by_its_recipe(project: RemoteProject, room: Room) -> None:
    accepted(room.run("pull", "other"), may_write=["work/envs"])
    (archive,) = (room.work / "envs").glob("other-*.tar.gz")
    assert archive.name.startswith(f"other-{project.other[:12]}")


@pytest.mark.parametrize("what", ["file", "stem", "digest", "path"])
def test_every_name_of_an_archive_pushes_it(project: RemoteProject, room: Room, what: str) -> None:
    accepted(room.run("pull", "other"), may_write=["work/envs"])
    for kind in ("archives", "manifests", "builds"):
        for path in (project.remote / kind).glob("*/*"):
            path.unlink()
    name = f"other-{project.other[:12]}"
    names = {
        "file": f"{name}.tar.gz",
        "stem": name,
        "digest": project.other,
        "path": f"envs/{name}.tar.gz",
    }
    key = {"ENVBUILDER_STORE_KEY": str(project.team.private)}
    accepted(room.run("push", names[what], env=key), may_write=["work/remote"])
    accepted(room.run("pull", "other", "-o", "again"), may_write=["work/again"])


@pytest.mark.parametrize(
    ("name", "line", "code"),
    [
        (lambda p: f"other-{p.sha256[:12]}.tar.gz", rf"{ANOTHER}recipe small, not other", 5),
        (lambda p: f"../../other-{p.sha256[:12]}.tar", rf"{ANOTHER}recipe small, not other", 5),
        (lambda _: "small:absent", "has no alias small:absent", 4),
        (lambda _: "0" * 64, "holds no archive 000000000000 with a manifest", 4),
        (lambda _: "0" * 12, "holds no archive whose sha256 begins with 000000000000", 4),
        (lambda _: "x-000000000000", "holds no archive whose sha256 begins with 000000000000", 4),
    ],
)
def test_names_of_what_is_not_there(
    project: RemoteProject, room: Room, name: Callable[[RemoteProject], str], line: str, code: int
) -> None:
    said = re.compile(f"error: {re.escape(project.url)}[/ ]{line}")
    refused(room.run("pull", name(project)), code, said)


def test_two_archives_that_begin_alike(project: RemoteProject, room: Room) -> None:
    """Anybody can write something that begins like an archive: what a trusted key signed counts."""
    start = project.sha256[:12]
    for number in range(20):
        project.write("manifests", f"{start}{number:052x}", b"junk")
    project.write("manifests", f"{start}\x1b[2J", b"junk")
    accepted(room.run("pull", start), may_write=["work/envs"])


def test_what_is_no_name_of_an_archive(project: RemoteProject, room: Room) -> None:
    line = "error: 'nonsense' is not an archive"
    refused(room.run("alias", "small:stable", "nonsense"), 2, line)


# -- aliases ---------------------------------------------------------------------------------------

STABLE = "small/stable"
MOVE = rf"aliases/{STABLE}/0000000\d"


def move(number: int, body: bytes, by: Callable[[RemoteProject], Team] = lambda p: p.team) -> Change:
    """Write a move of ``small:stable``."""
    return lambda project: project.say("aliases", f"{STABLE}/{number:08d}", body, by(project))


def move_to(number: int, **fields: Any) -> Change:
    """Write a move of ``small:stable`` with these fields."""

    def change(project: RemoteProject) -> None:
        body = {"sha256": project.sha256, "time": "2026-11-25T00:00:00+00:00"} | fields
        move(number, json.dumps(body).encode())(project)

    return change


def copied(origin: str, to: str) -> Change:
    """Copy a move, rightly signed, to another place."""

    def change(project: RemoteProject) -> None:
        project.write("aliases", to, project.path("aliases", origin).read_bytes())

    return change


def dropped(number: int) -> Change:
    """Remove a move."""
    return lambda project: project.path("aliases", f"{STABLE}/{number:08d}").unlink()


ALIASES = [
    Case(
        name="by-a-stranger",
        change=move(3, b'{"sha256": "' + b"0" * 64 + b'", "time": "2026-11-25T00:00:00+00:00"}', strange),
        line=rf"{MOVE} is signed by [0-9a-f]{{12}}, not by the trusted key [0-9a-f]{{12}}",
    ),
    Case(
        name="unsigned",
        change=lambda p: p.write("aliases", f"{STABLE}/00000003", b'{"sha256": "0"}'),
        line=rf"{MOVE} is not a signed object: .*",
    ),
    Case(
        name="replayed",
        change=copied(f"{STABLE}/00000001", f"{STABLE}/00000003"),
        line=rf"{MOVE}: subject\[0\]\.name: is aliases/{STABLE}/00000001: it was signed under that name, .*",
    ),
    Case(
        name="of-another-alias",
        change=copied("small/testing/00000001", f"{STABLE}/00000003"),
        line=rf"{MOVE}: subject\[0\]\.name: is aliases/small/testing/00000001: .*",
    ),
    Case(
        name="a-gap",
        change=copied("small/testing/00000001", f"{STABLE}/00000009"),
        line=rf"aliases/{STABLE}: move 3 is missing, but move 9 exists",
    ),
    Case(
        name="first-dropped",
        change=dropped(1),
        line=rf"aliases/{STABLE}: move 1 is missing, but move 2 exists",
    ),
    Case(name="deep-move", change=move(3, b"[" * 4000), line=rf"{MOVE}: .*(nested|deep).*"),
    Case(name="a-text", change=move(3, b'"x"'), line=rf"{MOVE}: expected an object, found 'x'"),
    Case(name="short", change=move_to(3, sha256="0" * 12), line=rf"{MOVE}: sha256: expected 64 hex digits.*"),
    Case(name="upper", change=move_to(3, sha256="A" * 64), line=rf"{MOVE}: sha256: expected 64 hex digits.*"),
    Case(
        name="null-digest", change=move_to(3, sha256=None), line=rf"{MOVE}: sha256: expected 64 hex digits.*"
    ),
    Case(name="time-number", change=move_to(3, time=1e30), line=rf"{MOVE}: time: expected a time.*"),
    Case(name="time-escape", change=move_to(3, time="\x1b[31m"), line=rf"{MOVE}: time: expected a time.*"),
    Case(
        name="to-another-recipe",
        change=lambda p: move_to(3, sha256=p.other)(p),
        line=ANOTHER + "recipe other, not small",
    ),
    Case(
        name="to-what-is-not-there",
        change=move_to(3, sha256="0" * 64),
        line="holds no archive 000000000000 with a manifest",
        code=4,
    ),
]


@pytest.mark.parametrize("case", ALIASES, ids=lambda case: case.name)
def test_pull_follows_no_alias_that_is_not_right(project: RemoteProject, room: Room, case: Case) -> None:
    case.change(project)
    said = re.compile(f"error: {re.escape(project.url)}[/ ]{case.line}")
    refused(room.run("pull", "small:stable"), case.code, said)


def test_names_that_are_no_moves_are_passed_over(project: RemoteProject, room: Room) -> None:
    for name in ("00000000", "3", "000000003", "stable", "\x1b[2J", "00000002.bak"):
        project.write("aliases", f"{STABLE}/{name}", b"junk")
    accepted(room.run("alias", "small:stable"))


def test_an_alias_that_goes_back_is_refused_where_it_was_seen(project: RemoteProject, room: Room) -> None:
    accepted(room.run("pull", "small:stable"), may_write=["work/envs"])
    dropped(2)(project)
    where = f"error: {project.url}/aliases/{STABLE}: "
    line = where + "small:stable was at move 2 when it was last seen here, and is at 1 now"
    for verb in ("pull", "alias"):
        refused(room.run(verb, "small:stable"), 5, line)
    dropped(1)(project)
    line = where + "small:stable was at move 2 when it was last seen here, and is at 0 now"
    refused(room.run("pull", "small:stable"), 5, line)
    fresh = {"ENVBUILDER_CACHE": str(room.store / "fresh")}
    refused(room.run("pull", "small:stable", env=fresh), 4, f"error: {project.url} has no alias small:stable")


def test_a_move_that_was_exchanged_is_refused_where_it_was_seen(project: RemoteProject, room: Room) -> None:
    """By somebody who has the key: a machine that saw the move knows all the same."""
    accepted(room.run("alias", "small:stable"))
    move_to(2, sha256=project.older)(project)
    line = (
        f"error: {project.url}/aliases/{STABLE}: move 2 of small:stable pointed to {project.sha256[:12]} when it was "
        f"last seen here, and points to {project.older[:12]} now"
    )
    refused(room.run("alias", "small:stable"), 5, line)
