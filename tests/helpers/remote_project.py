"""A recipe, its lock and its wheels in a folder, pushed to a remote store in another one: to be attacked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import Manifest
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.building.build import build
from envbuilder.building.record import BuildReport, build_key
from envbuilder.config.settings import Settings
from envbuilder.lockfile.check import check_lock
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.lockfile.pylock import write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.signing.dsse import PAYLOAD_TYPE, Envelope, parse_envelope
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.store.signed import SignedKind, state
from envbuilder.transfer.aliases import move_alias, read_alias
from envbuilder.transfer.push_pull import push_archive, push_build
from tests.helpers.small import little
from tests.helpers.trust import Team
from tests.helpers.wheels import small_lock, write_wheel


@dataclass(frozen=True, kw_only=True)
class RemoteProject:
    """What lies in *folder*: ``recipes``, ``wheels``, ``envbuilder.toml``, the store ``remote``, keys."""

    folder: Path
    recipe: Recipe
    lock: Lock
    report: BuildReport
    older: str
    """sha256 of the older archive of ``small``."""
    other: str
    """sha256 of the archive of ``other``."""

    @property
    def team(self) -> Team:
        """Who pushed."""
        return Team(self.folder / "keys", "team")

    @property
    def remote(self) -> Path:
        """The folder of the remote store."""
        return self.folder / "remote"

    @property
    def url(self) -> str:
        """Its address."""
        return f"file://{self.remote}"

    @property
    def key(self) -> str:
        """The key of the recipe's build."""
        return build_key(self.recipe, self.lock, self.lock.interpreter)

    @property
    def sha256(self) -> str:
        """Of the archive."""
        return self.report.sha256

    @property
    def manifest(self) -> Manifest:
        """Of the archive."""
        return self.report.manifest

    def path(self, kind: str, name: str) -> Path:
        """Return where an object lies."""
        return self.remote / (f"{kind}/{name}" if "/" in name else f"{kind}/{name[:2]}/{name}")

    def write(self, kind: str, name: str, text: bytes) -> Path:
        """Put *text* there, whatever it is."""
        path = self.path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
        return path

    def sign(
        self, kind: str, name: str, payload: object, by: Team, *, payload_type: str = PAYLOAD_TYPE
    ) -> None:
        """Put a signed object there: *payload* is a statement, or the text of one."""
        text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        envelope = Envelope(payload=text, payload_type=payload_type).sign(by.signer)
        self.write(kind, name, envelope.text().encode())

    def say(self, kind: SignedKind, name: str, body: bytes, by: Team, *, size: int | None = None) -> None:
        """Put a right object there, of any content; *size* is that of the archive that a manifest is of."""
        statement = state(kind, name, body, archive_size=size)
        self.sign(kind, name, statement.payload(), by)
        self.write("blobs", hashlib.sha256(body).hexdigest(), body)

    def statement(self, kind: str, name: str) -> dict[str, Any]:
        """Return what an object states."""
        found: dict[str, Any] = json.loads(self.payload(kind, name))
        return found

    def payload(self, kind: str, name: str) -> bytes:
        """Return what an object states, as text."""
        return parse_envelope(self.path(kind, name).read_bytes()).payload

    def copy(self, folder: Path) -> RemoteProject:
        """Copy all of it into *folder*."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return dataclasses.replace(self, folder=folder)


Change = Callable[[RemoteProject], None]


def make_remote_project(folder: Path, interpreter: Interpreter) -> RemoteProject:
    """Make it, pushed by the owner of ``keys/team.pem``.

    The archives of the recipes ``small`` and ``other`` are there, and one more of ``small``: an older one, that
    ``small:stable`` pointed to before and that ``small:testing`` points to.
    """
    team = Team(folder / "keys", "team")
    wheel = write_wheel(folder / "wheels", "alpha", files={"alpha/__init__.py": b"VALUE = 1\n"})
    small, other = (_recipe(folder, name, interpreter, wheel) for name in ("small", "other"))
    (folder / "envbuilder.toml").write_text(
        'store = "remote"\nstore-trust = ["keys/team.pub"]\nfind-links = ["wheels"]\nno-index = true\n'
    )
    settings = Settings(find_links=(str(folder / "wheels"),), no_index=True)
    remote = team.writes(f"file://{folder}/remote")
    store = dataclasses.replace(Store.open(folder / "cache"), remote=remote)
    session = Session(settings=settings, store=store)
    reports = {}
    for recipe in (other, small):
        lock = check_lock(recipe)
        report = build(recipe, lock, session, output=folder / "envs")
        reports[recipe.name] = report
        if recipe is small:
            push_build(recipe, lock, report, session)
        else:
            push_archive(report.archive, session)
    older = build(
        dataclasses.replace(small, pack=dataclasses.replace(small.pack, level=1)),
        check_lock(small),
        session,
        output=folder / "envs",
    )
    push_archive(older.archive, session)
    for sha256 in (older.sha256, reports["small"].sha256):
        move_alias(read_alias("small:stable", remote), sha256, store, remote)
    move_alias(read_alias("small:testing", remote), older.sha256, store, remote)
    shutil.rmtree(folder / "cache")
    shutil.rmtree(folder / "envs")
    return RemoteProject(
        folder=folder,
        recipe=small,
        lock=check_lock(small),
        report=reports["small"],
        older=older.sha256,
        other=reports["other"].sha256,
    )


def _recipe(folder: Path, name: str, interpreter: Interpreter, wheel: Artifact) -> Recipe:
    path = folder / "recipes" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    exclude = "".join(f'    - "{pattern}"\n' for pattern in little(interpreter).exclude or ())
    path.write_text(
        'triton: pytriton-0.7.0\npython: "3.11"\ntorch: "2.13.0"\ncuda: cpu\npack:\n  exclude:\n' + exclude
    )
    recipe = load_recipe(path)
    write_lock(small_lock(recipe, [wheel], describe(interpreter)), path.with_name(f"pylock.{name}.toml"))
    return recipe
