"""Links that lead out, in circles, through files, and members written through them: as the kernel would go."""

from __future__ import annotations

import dataclasses
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envbuilder.util.resources import sample_model
from tests.helpers.environments import Tree, environment, pack
from tests.helpers.hostile import Room, accepted, refused


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


@dataclass(frozen=True, kw_only=True)
class Case:
    """Members, and what is wrong with them: None where nothing is."""

    tree: Tree
    members: str | None = None
    """What ``archive.members`` finds."""
    links: str | None = None
    """What ``paths.links`` finds."""
    deploy: str | None = None
    """What a deployment says; None: as the first of the two."""
    extracted: bool = False
    """Whether a server extracts it all the same."""
    written: tuple[str, ...] = field(default=())
    """Files that are extracted all the same, by their real path."""


OUT = "links that point outside the environment: "
THROUGH = "members written through a link that points outside the environment: "
NO_FOLDER = "members below a path that is not a folder: "
CASES: dict[str, Case] = {
    # -- links
    "out-through-a-link-to-itself": Case(
        tree={"q": ".", "r/x": b"1", "l": "q/r/../../outside"},
        links=f"{OUT}l -> q/r/../../outside",
        deploy="outside: l -> q/r/../../outside",
    ),
    "out-through-a-link-that-comes-later": Case(
        tree={"l": "q/r/../../outside", "r/x": b"1", "q": "."},
        links=f"{OUT}l -> q/r/../../outside",
        deploy="outside: l -> q/r/../../outside",
    ),
    "out-through-a-chain": Case(
        tree={"a/b/c/x": b"1", "d": "a/b/c", "e": "d", "l": "e/../../../../x"},
        links=f"{OUT}l -> e/../../../../x",
        deploy="outside: l -> e/../../../../x",
    ),
    "absolute": Case(
        tree={"l": "/etc/passwd"}, links=f"{OUT}l -> /etc/passwd", deploy="outside: l -> /etc/passwd"
    ),
    "absolute-to-the-server": Case(
        tree={"l": "/proc/self/cwd/etc"},
        links=f"{OUT}l -> /proc/self/cwd/etc",
        deploy="outside: l -> /proc/self/cwd/etc",
    ),
    "out": Case(tree={"l": ".."}, links=f"{OUT}l -> ..", deploy="outside: l -> .."),
    "out-and-back": Case(
        tree={"l": "../0/bin"}, links=f"{OUT}l -> ../0/bin", deploy="outside: l -> ../0/bin"
    ),
    "out-behind-what-is-not-there": Case(
        tree={"l": "nothing/../../x"},
        links=f"{OUT}l -> nothing/../../x",
        deploy="outside: l -> nothing/../../x",
    ),
    "out-behind-a-file": Case(
        tree={"f": b"1", "l": "f/../../x"}, links=f"{OUT}l -> f/../../x", deploy="outside: l -> f/../../x"
    ),
    "out-behind-a-circle": Case(
        tree={"c": "c", "l": "c/../../x"}, links=f"{OUT}l -> c/../../x", deploy="outside: l -> c/../../x"
    ),
    "in-though-its-text-leads-out": Case(
        tree={"deep/er/x": b"1", "d": "deep/er", "l": "d/../../deep"}, written=("deep/er/x",)
    ),
    "circle": Case(tree={"a": "b", "b": "a"}),
    "to-nothing": Case(tree={"l": "nothing"}),
    "to-a-file-as-a-folder": Case(tree={"f": b"1", "l": "f/x"}, written=("f",)),
    # -- members written through links
    "member-through-a-link-out": Case(
        tree={"l": "../..", "m": member("l/x")},
        members=f"{THROUGH}l/x (through l -> ../..)",
        links=f"{OUT}l -> ../..",
        deploy="outside: l/x (through l -> ../..)",
    ),
    "member-through-an-absolute-link": Case(
        tree={"l": "/tmp", "m": member("l/x")},
        members=f"{THROUGH}l/x (through l -> /tmp)",
        links=f"{OUT}l -> /tmp",
        deploy="outside: l/x (through l -> /tmp)",
    ),
    "member-through-two-links-out": Case(
        tree={"q": ".", "r/y": b"1", "l": "q/r/../..", "m": member("l/x")},
        members=f"{THROUGH}l/x (through l -> q/r/../..)",
        links=f"{OUT}l -> q/r/../..",
        deploy="outside: l/x (through l -> q/r/../..)",
    ),
    "member-through-a-link": Case(
        tree={"d/y": b"1", "l": "d", "m": member("l/x")},
        deploy="through-link: l/x (through l -> d)",
        written=("d/x", "d/y"),
    ),
    "member-through-a-link-to-itself": Case(
        tree={"q": ".", "m": member("q/q/q/x")},
        deploy="through-link: q/q/q/x (through q -> .)",
        written=("x",),
    ),
    "member-through-a-link-to-nothing": Case(
        tree={"l": "nothing", "m": member("l/x")},
        members=f"{NO_FOLDER}l/x (through l -> nothing)",
        deploy="no-folder: l/x (through l -> nothing)",
    ),
    "member-through-a-circle": Case(
        tree={"a": "b", "b": "a", "m": member("a/x")},
        members=f"{NO_FOLDER}a/x (through a -> b)",
        deploy="no-folder: a/x (through a -> b)",
    ),
    "member-through-forty-one-links": Case(
        tree={
            "d/y": b"1",
            "l0": "d",
            **{f"l{number}": f"l{number - 1}" for number in range(1, 42)},
            "m": member("l40/x"),
        },
        members=f"{NO_FOLDER}l40/x (through l40 -> l39)",
        deploy="no-folder: l40/x (through l40 -> l39)",
    ),
    "member-through-a-file": Case(
        tree={"f": b"1", "m": member("f/x")},
        members=f"{NO_FOLDER}f/x (through f)",
        deploy="no-folder: f/x (through f)",
        written=("f",),
    ),
    "member-through-a-link-to-a-file": Case(
        tree={"f": b"1", "l": "f", "m": member("l/x")},
        members=f"{NO_FOLDER}l/x (through l -> f)",
        deploy="no-folder: l/x (through l -> f)",
        written=("f",),
    ),
    "member-over-a-link": Case(
        tree={"l": "bin/activate", "m": member("l")},
        members="duplicate members: l",
        deploy="twice: l",
        extracted=True,
    ),
    "folder-over-a-link": Case(
        tree={"l": "bin", "m": member("l", tarfile.DIRTYPE)},
        members="duplicate members: l",
        deploy="twice: l",
        extracted=True,
    ),
    "link-over-a-file": Case(
        tree={"f": b"1", "m": member("f", tarfile.SYMTYPE, "/etc/passwd")},
        members="duplicate members: f",
        links=f"{OUT}f -> /etc/passwd",
        deploy="twice: f",
        written=("f",),
        extracted=True,
    ),
    "link-over-a-folder": Case(
        tree={"d/x": b"1", "m": member("d", tarfile.SYMTYPE, "/etc")},
        members="duplicate members: d",
        deploy="twice: d",
        written=("d/x",),
    ),
    # -- hard links
    "hard-link-to-a-link": Case(
        tree={"l": "/etc/passwd", "m": member("h", tarfile.LNKTYPE, "l")},
        members="hard links: h (to l)",
        links=f"{OUT}l -> /etc/passwd, h -> /etc/passwd",
        deploy="hard-link: h (to l)",
        extracted=True,
    ),
    "hard-link-out": Case(
        tree={"m": member("h", tarfile.LNKTYPE, "../../../etc/passwd")},
        members="hard links: h (to ../../../etc/passwd)",
        deploy="hard-link: h (to ../../../etc/passwd)",
    ),
    "hard-link-through-a-link": Case(
        tree={"l": "/etc", "m": member("h", tarfile.LNKTYPE, "l/passwd")},
        members="hard links: h (to l/passwd)",
        links=f"{OUT}l -> /etc",
        deploy="hard-link: h (to l/passwd)",
    ),
    # -- names
    "link-without-a-target": Case(
        tree={"m": member("l", tarfile.SYMTYPE, "")},
        members="members without a name, or links without a target: l (a link to nothing)",
        deploy="name: l (a link to nothing)",
    ),
    "dots-in-a-name": Case(tree={"m": member("a/./b//x")}, written=("a/b/x",)),
}


@pytest.mark.parametrize("name", CASES)
def test_verify(room: Room, name: str) -> None:
    case = CASES[name]
    archive = pack({**environment(), **case.tree}, room.work)
    report = room.work / "report.json"
    outcome = room.run("verify", archive, "--no-server", "--quiet", "--report", report)
    # Nobody says who packed it; its Python is run where nothing is wrong with the members, and ends at once.
    # What a link out leads to on a server is not known here: no failure, and nothing follows it.
    found = {
        "archive.members": None if case.extracted else case.members,
        "contract.launch": None if case.members and not case.extracted else "it exited with 3",
    }
    wrong = [id for id, text in found.items() if text is not None]
    line = f"error: {len(wrong)} check{'s' if len(wrong) > 1 else ''} failed: {', '.join(wrong)}"
    refused(outcome, 7, line, may_write=["work/report.json"], report=report)
    told = {check["id"]: check for check in json.loads(report.read_text())["checks"]}
    if case.extracted:  # by a server, and here: no failure
        assert told["archive.members"]["status"] == "warning"
        assert told["archive.members"]["found"].startswith(f"{case.members}; ")
        case = dataclasses.replace(case, members=told["archive.members"]["found"])
    assert told["archive.members"]["found"] == (
        case.members or "every member stays inside the environment; no hard links, no devices"
    )
    links = told["paths.links"]
    unknown = f"{case.links}; whether their targets exist on a server is not known"
    assert (links["status"], links["found"]) == (
        ("passed", "no link points outside the environment") if case.links is None else ("unknown", unknown)
    )


@pytest.mark.parametrize("name", CASES)
def test_deploy_unpacked(room: Room, name: str) -> None:
    case = CASES[name]
    tree = {**environment(), **case.tree}
    archive = pack(tree, room.work, listed=tree)
    repository = room.work / "repository"
    outcome = room.run("deploy", archive, sample_model(), "--repository", repository, "--unpacked")
    if case.deploy is None:
        accepted(outcome, may_write=["work/repository", "work/environments"])
        (environment_folder,) = (room.work / "environments").glob("tiny-*/bin")
        for path in case.written:
            assert (environment_folder.parent / path).is_file()
        return
    refused(outcome, 5, f"error: {archive} cannot be extracted: {case.deploy}")
    assert not repository.exists()


def test_nothing_was_written_outside() -> None:
    assert not Path("/tmp/x").exists()
