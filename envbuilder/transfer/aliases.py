"""Aliases: ``resnet:stable`` points to an archive of the recipe ``resnet``.

An alias is a sequence of moves, each a separate, numbered, signed object that never changes: the last one is
current, and earlier ones are kept. To move it, the next number is created atomically: of two concurrent moves only
one succeeds.

Write access to the store is not enough to move an alias, which takes a trusted key, or to drop a move from the middle.
That they drop the last ones, so that an older archive counts again, is seen by a machine that saw those moves before:
each remembers how far it has seen an alias. A machine that sees the alias for the first time cannot know.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Final

from envbuilder.errors import IntegrityError, RecipeError, StoreError
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.signed import UntrustedError
from envbuilder.transfer.archives import find_archive, read_remote_manifest
from envbuilder.util.documents import DocumentError, Grammar, parse_json

_NUMBER: Final = re.compile(r"(?!0{8})[0-9]{8}")
_TIME: Final = Grammar(
    pattern=re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"), expected="a time, ISO 8601 in UTC"
)
NAME = re.compile(r"(?P<recipe>[A-Za-z0-9][A-Za-z0-9._-]*):(?P<alias>[A-Za-z0-9][A-Za-z0-9._-]*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """One move of an alias."""

    number: int
    """From 1."""
    sha256: str
    """SHA-256 of the archive that it points to now."""
    time: str
    """When, UTC, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """An alias."""

    name: str
    """``resnet:stable``."""
    moves: tuple[Move, ...]
    """From the first to the last, which is current."""

    @property
    def sha256(self) -> str | None:
        """The sha256 to which it points."""
        return self.moves[-1].sha256 if self.moves else None

    @property
    def before(self) -> str | None:
        """The sha256 to which it pointed before."""
        return next((move.sha256 for move in reversed(self.moves) if move.sha256 != self.sha256), None)


def read_alias(name: str, remote: RemoteStore, store: Store | None = None) -> Alias:
    """Return the alias *name*; one that was never set has no moves. *store* remembers the latest known move.

    Moves without a trusted signature are omitted if a trusted one follows.

    Raises:
        RecipeError: this is no name of an alias.
        StoreError: the store does not answer.
        UntrustedError: the last move has no trusted signature.
        IntegrityError: a move is not what was written there, is missing, or is older than what was seen here before.
    """
    folder = _folder(name)
    numbers = sorted(int(one) for one in remote.names("aliases", f"{folder}/") if _NUMBER.fullmatch(one))
    where = remote.place("aliases", folder)
    if numbers != list(range(1, len(numbers) + 1)):
        missing = min(set(range(1, numbers[-1])) - set(numbers))
        raise IntegrityError(f"{where}: move {missing} is missing, but move {numbers[-1]} exists")
    moves = [move for number in numbers if (move := _read_move(folder, number, numbers[-1], remote))]
    alias = Alias(name=name, moves=tuple(moves))
    if store is not None:
        _check_seen(alias, where, store)
    return alias


def aliases_of(recipe: str, remote: RemoteStore, store: Store | None = None) -> list[Alias]:
    """Return the aliases of *recipe*, by name.

    Raises:
        StoreError, UntrustedError, IntegrityError: see :func:`read_alias`.
    """
    names = sorted({path.split("/")[0] for path in remote.below("aliases", recipe) if "/" in path})
    found = [f"{recipe}:{name}" for name in names]
    return [read_alias(name, remote, store) for name in found if NAME.fullmatch(name)]


def _read_move(folder: str, number: int, last: int, remote: RemoteStore) -> Move | None:
    name = f"{folder}/{number:08d}"
    try:
        found = remote.find("aliases", name)
    except UntrustedError:
        if number == last:
            raise
        return None
    if found is None or found.content is None:
        raise IntegrityError(f"{remote.place('aliases', name)} is listed but missing")
    known = parse_json(found.content, where=remote.place("aliases", name))
    return Move(number=number, sha256=known.digest("sha256"), time=known.text("time", _TIME))


def _check_seen(alias: Alias, where: str, store: Store) -> None:
    """Refuse an alias that went back since it was seen here, and remember how far it is now."""
    name = hashlib.sha256(where.encode()).hexdigest()
    seen = store.find("seen", name)
    number, sha256 = 0, ""
    if seen is not None:
        with contextlib.suppress(DocumentError, OSError):  # damaged: as if it had not been seen
            known = parse_json(seen.read_bytes(), where=str(seen))
            number, sha256 = known.integer("number"), known.digest("sha256")
    last = alias.moves[-1].number if alias.moves else 0
    if last < number:
        raise IntegrityError(
            f"{where}: {alias.name} was at move {number} when it was last seen here, and is at {last} now",
            hint=f"moves are never removed; if you did, remove {seen}",
        )
    found = next((move.sha256 for move in alias.moves if move.number == number), sha256)
    if found != sha256:
        raise IntegrityError(
            f"{where}: move {number} of {alias.name} pointed to {sha256[:12]} when it was last seen here, "
            f"and points to {found[:12]} now",
            hint=f"moves are never changed; if you did, remove {seen}",
        )
    if last > number:
        body = {"number": last, "sha256": alias.moves[-1].sha256}
        with contextlib.suppress(OSError):  # a full disk is no reason not to answer
            store.write_entry("seen", name, json.dumps(body).encode())


def move_alias(alias: Alias, digest: str, store: Store, remote: RemoteStore) -> Alias:
    """Point *alias*, as it was read, to the archive whose sha256 begins with *digest*.

    Returns: the alias as it is now; unchanged where it points there already.

    Raises:
        StoreError: there is no such archive, or the alias was moved since it was read.
        IntegrityError: the archive is of another recipe.
    """
    sha256 = find_archive(remote, digest)
    recipe = alias.name.partition(":")[0]
    found = read_remote_manifest(remote, sha256)[0].recipe
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
        if not remote.create_signed("aliases", name, body, scratch):
            raise StoreError(
                f"{alias.name} was moved by another process at the same time",
                hint=f"look first: envbuilder alias {alias.name}",
            )
    return Alias(name=alias.name, moves=(*alias.moves, move))


def _folder(name: str) -> str:
    parts = NAME.fullmatch(name)
    if parts is None:
        raise RecipeError(
            f"{name!r} is not an alias", hint="an alias is RECIPE:WORD, for instance resnet:stable"
        )
    return f"{parts['recipe']}/{parts['alias']}"


def move_back(alias: Alias, store: Store, remote: RemoteStore) -> Alias:
    """Point *alias*, as it was read, to the archive that it pointed to before.

    Raises:
        RecipeError: it has no previous archive.
        StoreError, IntegrityError: see :func:`move_alias`.
    """
    if alias.before is None:
        raise RecipeError(
            f"{alias.name} has no previous archive", hint=f"envbuilder alias {alias.name} ARCHIVE sets it"
        )
    return move_alias(alias, alias.before, store, remote)
