"""Where a command line may find itself: no home, no right to write, no streams. It ends as it should all the same."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers.hostile import Room, harmless
from tests.helpers.hostile_archives import archive_of, model

QUICK = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
"""PATH without the interpreters of this machine, each of which would be asked what it is."""
RECIPE = 'triton: "25.06"\npython: "3.12"\ntorch: "2.7.1"\ncuda: cpu\n'


class Verb(NamedTuple):
    """A command line (A: an archive, M: a model), how it ends, and what it may write."""

    arguments: tuple[str, ...]
    code: int = 0
    writes: tuple[str, ...] = ()


VERBS = {
    "size": Verb(("size", "A")),
    "sbom": Verb(("sbom", "A")),
    "licences": Verb(("licences", "A")),
    "audit": Verb(("audit", "A", "--advisories", "empty"), 2),
    "attest": Verb(("attest", "A"), 0, ("work",)),
    "diff": Verb(("diff", "A", "A")),
    "deploy": Verb(("deploy", "A", "M", "--repository", "../repository"), 0, ("repository",)),
    "deploy shared": Verb(
        ("deploy", "A", "M", "--repository", "../repository", "--layout", "shared", "--unpacked"),
        0,
        ("repository", "environments"),
    ),
    "compile": Verb(("compile", "M"), 8),
    "init": Verb(("init", "new"), 0, ("work/recipes",)),
    "import": Verb(("import", "requirements.txt", "new.yaml"), 0, ("work",)),
    "lock --check": Verb(("lock", "--check"), 3),
    "build": Verb(("build", "there"), 3),
    "push": Verb(("push", "A"), 2),
    "report": Verb(("report", "A", "-o", "page.html"), 0, ("work",)),
    "image": Verb(("image", "A"), 5),
    "verify of an image": Verb(("verify", "oci://127.0.0.1:1/x:y"), 4),
    "apply": Verb(("apply", "../repository")),
    "status": Verb(("status", "../repository")),
    "patch": Verb(("patch", "numpy==1.0", "--plan"), 3),
    "patch --rollback": Verb(("patch", "--rollback"), 2),
    "pull": Verb(("pull", "there"), 3),
    "alias": Verb(("alias", "there:stable"), 2),
    "store info": Verb(("store", "info")),
    "store prune": Verb(("store", "prune")),
    "store clear": Verb(("store", "clear")),
    "completion": Verb(("completion", "bash")),
    "man": Verb(("man",), 0, ("work",)),
    "help": Verb(("--help",)),
}
Fault = Callable[[Room], dict[str, Any]]
"""Prepares a room, and returns what a run there is given."""


def _home(make: Callable[[Path], object] | None) -> Fault:
    def prepare(room: Room) -> dict[str, Any]:
        path = room.folder / "other-home"
        if make is not None:
            make(path)
        return {"env": {"HOME": str(path), "ENVBUILDER_CACHE": None}}

    return prepare


def _read_only(room: Room) -> dict[str, Any]:
    path = room.folder / "other-home"
    path.mkdir(mode=0o555)
    return {"env": {"HOME": str(path), "ENVBUILDER_CACHE": None}, "somebody": True}


FAULTS: dict[str, Fault] = {
    "no HOME": lambda room: {"env": {"HOME": None, "ENVBUILDER_CACHE": None}},
    "a HOME that is not there": _home(None),
    "a HOME that is a file": _home(lambda path: path.write_text("")),
    "a HOME that cannot be written": _read_only,
    "a user whom nobody knows": lambda room: {"somebody": True},
    "no TMPDIR": lambda room: {"env": {"TMPDIR": str(room.folder / "gone")}},
    "no streams": lambda room: {"closed": [0, 1, 2]},
    "no standard output": lambda room: {"closed": [1]},
    "no standard error": lambda room: {"closed": [2]},
}
IN_EACH_VERB = ("a HOME that cannot be written", "no streams")
"""Home and user, and streams: the others are tried with what writes, and what answers."""
OFTEN = ("sbom", "deploy shared", "init", "store info")
RUNS = [(fault, verb) for fault in FAULTS for verb in (VERBS if fault in IN_EACH_VERB else OFTEN)]


def _prepare(room: Room) -> dict[str, str]:
    """Put what verbs take into the room; return what stands for the letters in their arguments."""
    recipes = room.work / "recipes"
    recipes.mkdir()
    (recipes / "there.yaml").write_text(RECIPE)
    (room.work / "envbuilder.toml").write_text("no-index = true\n")
    (room.work / "requirements.txt").write_text("numpy==2.0\n")
    (room.work / "empty").mkdir()
    return {"A": str(archive_of(room.folder, [b""])), "M": str(model(room))}


@pytest.mark.parametrize(("fault", "name"), RUNS)
def test_a_verb_does_what_it_does(room: Room, fault: str, name: str) -> None:
    verb = VERBS[name]
    given = _prepare(room)
    options = FAULTS[fault](room)
    options["env"] = {"PATH": QUICK, **options.get("env", {})}
    outcome = room.run(*(given.get(one, one) for one in verb.arguments), **options)
    assert outcome.code == verb.code, str(outcome)
    # The statement lies beside the archive, which is in the room itself.
    beside = [path for path in outcome.changed if path.endswith(".statement.json")]
    if fault == "a HOME that is not there":  # the store makes it, as XDG's specification of its folders says
        kept = tuple(path for path in outcome.changed if not path.startswith("other-home"))
        outcome = dataclasses.replace(outcome, changed=kept)
    harmless(outcome, may_write=[*verb.writes, *beside])


CANNOT = {
    "init": (2, "error: {work}/recipes/new.yaml cannot be written: Permission denied"),
    "import": (2, "error: new.yaml cannot be written: Permission denied"),
    "man": (1, "error: man1: Permission denied"),
    "size": (0, ""),
    "deploy": (0, ""),
    "lock --check": (3, "error: recipe there is not locked: there is no {work}/recipes/pylock.there.toml"),
}


@pytest.mark.parametrize("name", CANNOT)
def test_a_working_directory_that_cannot_be_written(room: Room, name: str) -> None:
    code, said = CANNOT[name]
    given = _prepare(room)
    closed = [room.work / "recipes", room.work]
    for folder in closed:
        folder.chmod(0o555)
    try:
        outcome = room.run(
            *(given.get(one, one) for one in VERBS[name].arguments), env={"PATH": QUICK}, somebody=True
        )
    finally:
        for folder in closed:
            folder.chmod(0o755)
    assert outcome.code == code, str(outcome)
    assert outcome.error == said.format(work=room.work), str(outcome)
    harmless(outcome, may_write=["repository"])


def test_nothing_that_is_written_gets_the_number_of_a_stream() -> None:
    code = (
        "import os, sys\n"
        "for number in range(3): os.close(number)\n"
        "from envbuilder.__main__ import main\n"
        "sys.argv = ['envbuilder', '--version']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "os._exit(sum(os.readlink(f'/proc/self/fd/{number}') != '/dev/null' for number in range(3)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["store", "info"]], ids=str)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_disk_that_is_full_under_a_stream(tmp_path: Path, arguments: list[str], stream: str) -> None:
    env = {"PATH": QUICK, "HOME": str(tmp_path), "ENVBUILDER_CACHE": str(tmp_path / "store")}
    with open("/dev/full", "w") as full:
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: full}
        done = subprocess.run(
            [sys.executable, "-m", "envbuilder", *arguments], text=True, env=env, check=False, **streams
        )
    if stream == "stderr":
        assert (done.returncode, bool(done.stdout)) == (0, True)
    else:
        said = "error: standard output cannot be written: No space left on device\n"
        assert (done.returncode, done.stderr) == (1, said)
