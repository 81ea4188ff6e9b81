"""Killed or told to end at any step, and the same again: the same bytes, and nothing left.

A step is what changes files or starts a program. Each verb runs once undisturbed, which gives its steps and the
reference; then again from the same beginning, with a signal before a step. ``ENVBUILDER_STEPS=all`` tries every step, a
number that many of each verb; by default a few, the same in each run.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter
from envbuilder.util.watchdog import remove
from tests.helpers.hostile import Outcome, Room, Zygote
from tests.helpers.images import missing_blobs
from tests.helpers.registries import docker_registry
from tests.helpers.wheels import write_wheel
from tests.helpers.workspace import Workspace, make_workspace

pytestmark = pytest.mark.xdist_group("kills")  # a worker needs a scene and its references
STEPS = os.environ.get("ENVBUILDER_STEPS")
SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
_TEMPORARY = re.compile(r"-[0-9a-f]{16}(/|$)|(^|/)\.[^/]*deploying")
_OF_OTHERS = re.compile(r"tmp/(TmP[^/]*|[a-z0-9_]{8})$|store/proofs")
"""What python-discovery and virtualenv make to find out how file systems take capital letters, and Python where it may
write temporary files: killed just then, they leave it. And what was proven, which says when."""
REGISTRY = "registry"
_UV = "store/tools/uv"
"""uv's own cache, which uv looks after."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A command line to disturb, and what has to be there before."""

    before: tuple[tuple[str, ...], ...]
    arguments: tuple[str, ...]
    steps: int = 3
    """How many are tried by default."""
    journal: str = ""
    """A file that says how far it has come: in between it is another than before and after, and whole."""


BUILD = ("build", "small", "-q")
VERBS = {
    "lock": Verb(before=(), arguments=("lock", "small", "--upgrade", "--fetch"), steps=2),
    "build": Verb(before=(), arguments=BUILD),
    "build-fleet": Verb(before=(), arguments=("build", "small", "other"), steps=1),
    "build-check": Verb(before=(), arguments=("build", "small", "--check"), steps=1),
    "deploy": Verb(before=(BUILD,), arguments=("deploy", "{archive}", "net", "--repository", "repository")),
    "deploy-unpacked": Verb(
        before=(BUILD, ("deploy", "{archive}", "net", "--repository", "repository", "--name", "first")),
        arguments=(
            "deploy",
            "{archive}",
            "net",
            "--repository",
            "repository",
            "--layout",
            "shared",
            "--unpacked",
        ),
    ),
    "push": Verb(before=(BUILD,), arguments=("push", "small")),
    "pull": Verb(before=(BUILD, ("push", "small")), arguments=("pull", "small", "-o", "pulled")),
    "image": Verb(before=(BUILD,), arguments=("image", "{archive}", "-o", "images.oci"), steps=1),
    "image-tar": Verb(before=(BUILD,), arguments=("image", "{archive}", "-o", "small.oci.tar"), steps=1),
    "image-add": Verb(  # with --estargz every layer is another one
        before=(BUILD, ("image", "{archive}", "-o", "images.oci")),
        arguments=("image", "{archive}", "-o", "images.oci", "--name", "lazy", "--estargz"),
        steps=2,
    ),
    "image-push": Verb(
        before=(BUILD,), arguments=("push", "{archive}", "oci://{registry}/small:one"), steps=2
    ),
    "image-pull": Verb(
        before=(BUILD, ("push", "{archive}", "oci://{registry}/small:one")),
        arguments=("pull", "oci://{registry}/small:one", "-o", "pulled"),
    ),
    "apply": Verb(before=(BUILD,), arguments=("apply", "served", "--no-verify"), steps=1),
    "patch": Verb(
        before=(BUILD,),
        arguments=("patch", "beta==1.0", "--no-verify"),
        steps=1,
        journal="work/envs/patched.json",
    ),
    "prune": Verb(before=(BUILD,), arguments=("store", "prune", "--limit", "1K")),
}


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A room with a workspace, which can be set back to what it was before a verb."""

    room: Room
    workspace: Workspace
    registry: str
    """The host of a registry, whose data are in the room, too."""
    saved: dict[str, Path] = field(default_factory=dict)
    references: dict[str, tuple[dict[str, str], dict[str, str], list[str]]] = field(default_factory=dict)

    def run(self, arguments: tuple[str, ...], moment: tuple[int, int] | None = None) -> Outcome:
        archive = self.workspace.archive() if "{archive}" in arguments else ""
        given = [argument.format(archive=archive, registry=self.registry) for argument in arguments]
        return self.room.run(*given, moment=moment, env=self.workspace.variables)

    def set_back(self, before: tuple[tuple[str, ...], ...]) -> None:
        """Bring the room to what it is after the commands *before*."""
        name = str(len(before)) + hashlib.sha256(repr(before).encode()).hexdigest()[:8]
        for left in (*self.room.temporary.iterdir(), *self.room.home.iterdir()):
            remove(left)
        for part in ("work", "store"):
            saved = self.room.folder / f"saved-{name}" / part
            if saved.exists():
                shutil.rmtree(self.room.folder / part)
                shutil.copytree(saved, self.room.folder / part, symlinks=True)
        if name not in self.saved:
            if before:
                self.set_back(before[:-1])
                done = self.run(before[-1])
                assert done.code == 0, str(done)
            for part in ("work", "store"):
                shutil.copytree(
                    self.room.folder / part, self.room.folder / f"saved-{name}" / part, symlinks=True
                )
            self.saved[name] = self.room.folder / f"saved-{name}"

    def reference(self, verb: Verb) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Return what there is before and after an undisturbed run, and its steps."""
        name = repr(verb)
        if name not in self.references:
            self.set_back(verb.before)
            before = self.listing()
            done = self.run(verb.arguments, moment=(0, 0))
            assert done.code == 0, str(done)
            self.references[name] = (before, self.listing(), self.room.steps())
        return self.references[name]

    def listing(self) -> dict[str, str]:
        """Return what lies in the room, but for uv's cache and the registry: kind, mode and content by path."""
        found: dict[str, str] = {}
        for part in ("work", "store", "tmp", "home"):
            for root, folders, files in os.walk(self.room.folder / part):
                folders[:] = [
                    name for name in folders if name != REGISTRY and not f"{root}/{name}".endswith(_UV)
                ]
                for name in (*folders, *files):
                    path = Path(root, name)
                    mode = f"{path.lstat().st_mode:o}"
                    if path.is_symlink():
                        what = os.readlink(path)
                    elif path.is_dir():
                        what = "folder"
                    else:
                        what = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[str(path.relative_to(self.room.folder))] = f"{mode} {what}"
        return {path: what for path, what in found.items() if not _OF_OTHERS.match(path)}


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Return what is another in two listings, or in one only."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, warm: Zygote, python311: Interpreter) -> Iterator[Scene]:
    room = Room(folder=tmp_path_factory.mktemp("kills"), zygote=warm)
    workspace = make_workspace(room.work, python311)
    write_wheel(workspace.folder / "wheels", "beta", "1.1", files={"beta.py": b"mended = True\n"})
    shutil.copytree(workspace.model, workspace.folder / "served" / "net")
    with (workspace.folder / "envbuilder.toml").open("a") as settings:
        settings.write('[models]\nnet = "small"\n')
    with docker_registry(room.work / REGISTRY) as registry:
        made = Scene(room=room, workspace=workspace, registry=registry)
        done = made.run(BUILD)  # so that the base, which takes the longest, is in the store
        assert done.code == 0, str(done)
        shutil.rmtree(room.work / "envs")
        shutil.rmtree(room.store / "builds")
        for kind in ("artifacts", "listings", "segments"):
            for entry in (room.store / kind).glob("*/*"):
                if kind != "segments" or b"alpha" in b"".join(f.read_bytes() for f in entry.iterdir()):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        yield made
    shutil.rmtree(room.folder)


def moments(name: str, what: str, steps: int) -> list[int]:
    """Choose the steps before which the signal comes."""
    if STEPS == "all":
        return list(range(1, steps + 1))
    count = int(STEPS) if STEPS else VERBS[name].steps
    return sorted(random.Random(f"{name}-{what}").sample(range(1, steps + 1), min(count, steps)))


def assert_whole_layout(scene: Scene, moment: str) -> None:
    """What the index of a layout leads to is there, whenever the verb ended."""
    layout = scene.room.work / "images.oci"
    if layout.exists():
        assert missing_blobs(layout) == [], moment


@pytest.mark.parametrize("name", VERBS)
def test_killed_at_any_step_and_the_same_again(scene: Scene, name: str) -> None:
    verb = VERBS[name]
    before, after, steps = scene.reference(verb)
    for step in moments(name, "killed", len(steps)):
        scene.set_back(verb.before)
        killed = scene.run(verb.arguments, moment=(step, signal.SIGKILL))
        assert killed.code in (-signal.SIGKILL, 0), f"{step}: {killed}"
        assert killed.running == (), f"{step}: {killed}"
        for path, what in scene.listing().items():
            if not _TEMPORARY.search(path) and not what.endswith("folder") and path != verb.journal:
                assert what in (before.get(path), after.get(path)), f"{step}: {path} is half made"
        assert_whole_layout(scene, f"{step}: {steps[step - 1]}")
        again = scene.run(verb.arguments)
        assert again.code == 0, f"{step}: {again}"
        assert changes(after, scene.listing()) == [], f"{step}: {steps[step - 1]}"


@pytest.mark.parametrize("name", VERBS)
def test_told_to_end_at_any_step(scene: Scene, name: str) -> None:
    verb = VERBS[name]
    before, after, steps = scene.reference(verb)
    for turn, step in enumerate(moments(name, "told", len(steps))):
        number = list(SAID)[(turn + len(name)) % len(SAID)]
        for last in (False, True):  # once more where it took long: the machine may have been busy
            scene.set_back(verb.before)
            ended = scene.run(verb.arguments, moment=(step, number))
            if ended.seconds_to_end < 2 or last:
                break
        assert ended.seconds_to_end < 2, f"{step}: {ended}"
        if ended.code == 0:  # it came when all was done, or in a run with fewer steps
            continue
        assert (ended.code, ended.stderr.splitlines()[-1:]) == (128 + number, [SAID[number]]), (
            f"{step}: {ended}"
        )
        assert "Traceback" not in ended.stderr, f"{step}: {ended}"
        assert ended.running == (), f"{step}: {ended}"
        assert_whole_layout(scene, f"{step}: {steps[step - 1]}")
        left = scene.listing()
        for path, what in left.items():
            whole = path.startswith("store") or what in (before.get(path), after.get(path))
            assert whole or path == verb.journal, f"{step}: {path}"
            assert not path.startswith(("store/tmp/", "tmp/")), f"{step}: {path}"
        # A folder of results is there only with a result in it.
        for path, what in left.items():
            if path.startswith("work/") and what.endswith("folder") and path not in before:
                assert any(other.startswith(f"{path}/") for other in left), f"{step}: {path} is empty"
