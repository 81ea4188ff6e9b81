"""Aliases: ``resnet:stable`` points to an archive of the recipe ``resnet``.

An alias is a row of moves, each an object of its own, numbered, that is never changed: the last one counts, and those
before are kept. To move it is to create the next number, in one step, which of two at once only one can.
"""

from __future__ import annotations

import datetime
import json
import re
from dataclasses import dataclass

from envbuilder.archive.manifest import parse_manifest
from envbuilder.errors import IntegrityError, RecipeError, StoreError
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore, seal
from envbuilder.transfer.archives import find_archive

NAME = re.compile(r"(?P<recipe>[A-Za-z0-9][A-Za-z0-9._-]*):(?P<alias>[A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One move of an alias."""

    number: int
    """From 1."""
    sha256: str
    """Of the archive that it points to since."""
    time: str
    """When, UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """An alias as it stands."""

    name: str
    """``resnet:stable``."""
    moves: tuple[Move, ...]
    """The first to the last; the last counts."""

    @property
    def sha256(self) -> str | None:
        """What it points to."""
        return self.moves[-1].sha256 if self.moves else None

    @property
    def before(self) -> str | None:
        """What it pointed to before."""
        return next((move.sha256 for move in reversed(self.moves) if move.sha256 != self.sha256), None)


def read_alias(name: str, remote: RemoteStore) -> Alias:
    """Return the alias *name*; one that nobody has set has no moves.

    Raises:
        RecipeError: this is no name of an alias.
        StoreError: the store does not answer.
        IntegrityError: a move is not what was written there.
    """
    folder = _folder(name)
    moves = []
    for number in remote.names("aliases", f"{folder}/"):
        text = remote.read_sealed("aliases", f"{folder}/{number}")
        if text is None:
            continue
        try:
            known = json.loads(text)
            moves.append(Move(number=int(number), sha256=known["sha256"], time=known["time"]))
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{remote.place('aliases', f'{folder}/{number}')} is no move of an alias"
            ) from error
    return Alias(name=name, moves=tuple(moves))


def move_alias(alias: Alias, digest: str, store: Store, remote: RemoteStore) -> Alias:
    """Point *alias*, as it was read, to the archive whose sha256 begins with *digest*.

    Returns: the alias as it is now; unchanged where it points there already.

    Raises:
        StoreError: there is no such archive, or somebody else moved the alias since it was read.
        IntegrityError: the archive is of another recipe.
    """
    sha256 = find_archive(remote, digest)
    recipe = alias.name.partition(":")[0]
    manifest = remote.read_sealed("manifests", sha256)
    if manifest is None:
        raise StoreError(f"{remote.url} holds no manifest of the archive {sha256[:12]}", hint="push it again")
    found = parse_manifest(manifest, where=remote.place("manifests", sha256)).recipe
    if found != recipe:
        raise IntegrityError(
            f"the archive {sha256[:12]} is of recipe {found}, {alias.name} is one of {recipe}"
        )
    if alias.sha256 == sha256:
        return alias
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    move = Move(number=alias.moves[-1].number + 1 if alias.moves else 1, sha256=sha256, time=now)
    name = f"{_folder(alias.name)}/{move.number:08d}"
    body = json.dumps({"sha256": sha256, "time": now}).encode()
    with store.scratch("alias") as scratch:
        draft = scratch / "object"
        draft.write_bytes(seal("aliases", name, body) + body)
        if not remote.create("aliases", name, draft):
            raise StoreError(
                f"{alias.name} was moved by somebody else meanwhile",
                hint=f"look first: envbuilder alias {alias.name}",
            )
    return Alias(name=alias.name, moves=(*alias.moves, move))


def _folder(name: str) -> str:
    parts = NAME.fullmatch(name)
    if parts is None:
        raise RecipeError(f"{name!r} is no alias", hint="an alias is RECIPE:WORD, for instance resnet:stable")
    return f"{parts['recipe']}/{parts['alias']}"


def move_back(alias: Alias, store: Store, remote: RemoteStore) -> Alias:
    """Point *alias*, as it was read, to the archive that it pointed to before.

    Raises:
        RecipeError: it pointed to nothing before.
        StoreError, IntegrityError: see :func:`move_alias`.
    """
    if alias.before is None:
        raise RecipeError(
            f"{alias.name} pointed to nothing before", hint=f"envbuilder alias {alias.name} ARCHIVE sets it"
        )
    return move_alias(alias, alias.before, store, remote)
