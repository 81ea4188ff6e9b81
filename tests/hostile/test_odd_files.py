"""A FIFO, a socket, a device or a folder where a file should be, in every verb that takes one: nobody waits for it."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from envbuilder.util.resources import shipped_recipes
from tests.helpers.hostile import Outcome, Room, accepted, refused
from tests.helpers.hostile_archives import archive_of, model

QUICK = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
KEY = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
"""
"""Of nobody: Ed25519."""
KINDS = {"fifo": "a FIFO", "socket": "a socket", "device": "a character device", "folder": "a folder"}


def put(kind: str, path: Path) -> Path:
    """Put something that is no file at *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            before = os.getcwd()
            os.chdir(path.parent)  # a socket's address is at most a hundred bytes long
            try:
                bound.bind(path.name)
            finally:
                os.chdir(before)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


def run(room: Room, *arguments: str | Path) -> Outcome:
    return room.run(*arguments, seconds=20, env={"PATH": QUICK})


def good(room: Room) -> Path:
    """A sound archive."""
    return archive_of(room.folder, [b""])


Case = tuple[str, Callable[[Room, Path], Outcome], int, str]
"""Where it stands (relative to the working directory), what is run, exit code, the error ({}: what it is)."""
CASES: dict[str, Case] = {
    # -- archives
    "verify": ("a.tar.gz", lambda room, path: run(room, "verify", path.name), 7, "a.tar.gz: is {}, not a file"),
    "size": ("a.tar.gz", lambda room, path: run(room, "size", path.name), 5,
        "a.tar.gz cannot be read to its end: is {}, not a file"),
    "sbom": ("a.tar.gz", lambda room, path: run(room, "sbom", path.name), 5,
        "a.tar.gz cannot be read: is {}, not a file"),
    "licences": ("a.tar.gz", lambda room, path: run(room, "licences", path.name), 5,
        "a.tar.gz cannot be read: is {}, not a file"),
    "attest": ("a.tar.gz", lambda room, path: run(room, "attest", path.name), 5,
        "a.tar.gz cannot be read: is {}, not a file"),
    "deploy": ("a.tar.gz",
        lambda room, path: run(room, "deploy", path.name, model(room), "--repository", "../repository"), 8, "a.tar.gz is {}, not a file"),  # noqa: E501 - a row of the table
    "diff of archives": ("a.tar.gz", lambda room, path: run(room, "diff", path.name, path.name), 2,
        "a.tar.gz: is {}, not a file"),
    "diff of manifests": ("a.json", lambda room, path: run(room, "diff", path.name, path.name), 2,
        "a.json: is {}, not a file"),
    # -- recipes and locks
    "diff of locks": ("a.toml", lambda room, path: run(room, "diff", path.name, path.name), 5,
        "a.toml: cannot be read: is {}, not a file"),
    "diff of recipes": ("a.yaml", lambda room, path: run(room, "diff", path.name, path.name), 2,
        "a.yaml: cannot be read: is {}, not a file"),
    "lock of a path": ("a.yaml", lambda room, path: run(room, "lock", path.name), 2,
        "a.yaml: cannot be read: is {}, not a file"),
    "lock of a name": ("recipes/a.yaml", lambda room, path: run(room, "lock", "a"), 2,
        "{path}: cannot be read: is {}, not a file"),
    "build of a path": ("a.yaml", lambda room, path: run(room, "build", path.name), 2,
        "a.yaml: cannot be read: is {}, not a file"),
    "build of all": ("recipes/a.yaml", lambda room, path: run(room, "build"), 2,
        "{path}: cannot be read: is {}, not a file"),
    "doctor": ("a.yaml", lambda room, path: run(room, "doctor", path.name), 2,
        "a.yaml: cannot be read: is {}, not a file"),
    "build of a lock": ("recipes/pylock.cpu.toml", lambda room, path: run(room, "build", "cpu"), 5,
        "{path}: cannot be read: is {}, not a file"),
    "lock over it": ("recipes/pylock.cpu.toml", lambda room, path: run(room, "lock", "cpu"), 2,
        "{path}: is {}, not a file"),
    "verify of a lock": ("a.toml", lambda room, path: run(room, "verify", good(room), "--lock", path.name), 5,
        "a.toml: cannot be read: is {}, not a file"),
    "import": ("environment.yml", lambda room, path: run(room, "import", path.name), 2,
        "environment.yml cannot be read: is {}, not a file"),
    # -- keys, reports, advisories
    "verify by a key": ("key.pem", lambda room, path: run(room, "verify", good(room), "--provenance", path.name), 2,
        "the key key.pem cannot be read: is {}, not a file"),
    "attest with a key": ("key.pem", lambda room, path: run(room, "attest", good(room), "--key", path.name), 2,
        "the key key.pem cannot be read: is {}, not a file"),
    "attest with a certificate": ("a.pem",
        lambda room, path: run(room, "attest", good(room), "--key", "my.key", "--certificate", path.name), 2,
        "the key a.pem cannot be read: is {}, not a file"),
    "attest with a report": ("a.json", lambda room, path: run(room, "attest", good(room), "--report", path.name), 5,
        "the report a.json cannot be read: is {}, not a file"),
    "audit by a zip": ("db.zip", lambda room, path: run(room, "audit", good(room), "--advisories", path.name), 2,
        "db.zip: is {}, not a file"),
    "audit by a record": ("db.json", lambda room, path: run(room, "audit", good(room), "--advisories", path.name), 2,
        "db.json: is {}, not a file"),
    # -- configuration
    "settings": ("envbuilder.toml", lambda room, path: run(room, "doctor"), 2, "{path}: is {}, not a file"),
    "pip's configuration": ("../home/.config/pip/pip.conf", lambda room, path: run(room, "lock", "cpu"), 2,
        "{path}: pip's configuration cannot be read: is {}, not a file"),
    "a server's configuration": ("../models/net/config.pbtxt",
        lambda room, path: run(room, "deploy", good(room), path.parent, "--repository", "../repository"), 8,
        "{path} cannot be read: is {}, not a file"),
    "compile": ("../repository/net/config.pbtxt", lambda room, path: run(room, "compile", "../repository/net"), 8,
        "../repository/net/config.pbtxt cannot be read: is {}, not a file"),
    # -- what is written
    "sbom to it": ("out.json", lambda room, path: run(room, "sbom", good(room), "-o", path.name), 2,
        "out.json cannot be written: is {}, not a file"),
    "verify to it": ("out.json",
        lambda room, path: run(room, "verify", good(room), "--no-server", "--report", path.name), 2,
        "out.json cannot be written: is {}, not a file"),
    "size to it": ("out.svg", lambda room, path: run(room, "size", good(room), "--plot", path.name), 2,
        "out.svg cannot be written: is {}, not a file"),
}  # fmt: skip
_OF_FOLDERS = {
    "verify": "a.tar.gz is not an environment",
    "sbom": "a.tar.gz: the archive has no share/envbuilder/manifest.json",
    "deploy": "a.tar.gz is not an environment",
}
"""Verbs that take a folder, too, if it is an environment; and what they say of one that is none."""


_IN_DEPTH = ("verify", "sbom", "deploy", "diff of manifests", "lock of a path", "lock over it", "attest with a key",
             "settings", "a server's configuration", "sbom to it")  # fmt: skip
RUNS = [(case, "fifo") for case in CASES] + [
    (case, kind) for case in _IN_DEPTH for kind in KINDS if kind != "fifo"
]


@pytest.mark.parametrize(("case", "kind"), RUNS)
def test_what_is_no_file_is_named(room: Room, case: str, kind: str) -> None:
    where, act, code, message = CASES[case]
    recipes = room.work / "recipes"
    recipes.mkdir()
    for name in ("cpu.yaml", "pylock.cpu.toml"):
        (recipes / name).write_bytes((shipped_recipes() / name).read_bytes())
    (room.work / "my.key").write_text(KEY)
    model(room)
    path = put(kind, Path(os.path.normpath(room.work / where)))
    outcome = act(room, path)
    if kind == "folder" and case in _OF_FOLDERS:
        refused(outcome, 5, f"error: {_OF_FOLDERS[case]}")
    else:
        text = message.replace("{path}", str(path)).replace("{}", KINDS[kind])
        refused(outcome, code, f"error: {text}")


def test_a_fifo_among_advisories_is_not_passed_over(room: Room) -> None:
    put("fifo", room.work / "advisories" / "a.json")
    outcome = run(room, "audit", good(room), "--advisories", "advisories")
    refused(outcome, 5, "error: advisories/a.json cannot be read: is a FIFO, not a file")


def test_a_fifo_that_requirements_are_in_is_told(room: Room) -> None:
    put("fifo", room.work / "r.txt")
    (room.work / "environment.yml").write_text(
        "name: x\nchannels: [conda-forge]\ndependencies: [python=3.11, pytorch=2.7, {pip: [-r r.txt]}]\n"
    )
    outcome = run(room, "import", "environment.yml")
    accepted(outcome, may_write=["work/recipes"])
    assert "cannot be read: is a FIFO, not a file" in outcome.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_something_else_beside_an_archive_is_no_manifest(room: Room, kind: str) -> None:
    archive = good(room)
    beside = put(kind, manifest_beside(archive))
    outcome = run(room, "verify", archive, "--no-server")
    refused(outcome, 7, "error: 1 check failed: manifest.present")
    assert f"{beside.name} beside the archive is {KINDS[kind]}, not a file" in outcome.stdout


def test_a_model_holds_files_and_folders_only(room: Room) -> None:
    path = put("fifo", model(room) / "1" / "weights.bin")
    outcome = run(room, "deploy", good(room), path.parent.parent, "--repository", "../repository")
    refused(outcome, 8, f"error: {path} is neither a file nor a folder")


def test_a_wheelhouse_page_that_is_a_fifo(room: Room) -> None:
    (room.work / "recipes").mkdir()
    for name in ("cpu.yaml", "pylock.cpu.toml"):
        (room.work / "recipes" / name).write_bytes((shipped_recipes() / name).read_bytes())
    put("fifo", room.work / "page.html")
    outcome = run(room, "lock", "cpu", "--find-links", "page.html")
    page = (room.work / "page.html").as_uri()
    refused(outcome, 4, f"error: wheelhouse {page}: is a FIFO, not a file")
