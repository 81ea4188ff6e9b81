"""Finish a patch: move aliases of the previous archive, and report what still contains the affected component."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from envbuilder.errors import EnvbuilderError, ResolveError, StoreError
from envbuilder.fleet.patching.holdings import Held, Holding, Pointing, labels_of
from envbuilder.fleet.patching.journal import Entry, Journal
from envbuilder.fleet.patching.relock import nothing_brings
from envbuilder.fleet.patching.rows import PatchedRecipe, relative
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import aliases_of, move_alias
from envbuilder.transfer.push_pull import push_archive


def finish(
    row: PatchedRecipe,
    holding: Holding | None,
    left: Sequence[Held],
    journal: Journal,
    session: Session,
) -> PatchedRecipe:
    """Move the aliases of a patched recipe, and return its row with what still holds it."""
    entry = journal.entry(row.path)
    pointing = holding.aliases if holding is not None else ()
    row = replace(row, aliases=())
    errors: list[EnvbuilderError] = []
    if left and holding is not None:
        errors.append(nothing_brings(left, holding.job.recipe))
    try:
        row, kept = _move(row, entry, pointing, journal, session)
    except EnvbuilderError as error:
        return replace(row, state="refused", error=error)
    if kept:
        errors.append(_unmoved(row, kept, holding))
    if holding is not None and holding.images:
        errors.append(_images(row, holding))
    if not errors:
        return row
    whole = ResolveError(
        "; ".join(one.message for one in errors), hint="; ".join(one.hint or "" for one in errors)
    )
    whole.exit_code = errors[0].exit_code
    return replace(row, state="still affected", error=whole)


def _move(
    row: PatchedRecipe,
    entry: Entry | None,
    pointing: Sequence[Pointing],
    journal: Journal,
    session: Session,
) -> tuple[PatchedRecipe, list[Pointing]]:
    """Point the aliases of the archive before to the new one, which is pushed first; return those that stay."""
    before = None if entry is None else hashlib.sha256(entry.before.encode()).hexdigest()
    there = session.at(row.path.parent)
    remote = there.store.remote
    moving = [one for one in pointing if one.lock_digest == before]
    if remote is None or row.archive is None or entry is None or not moving or not remote.trust.can_sign:
        return row, list(pointing)
    made = push_archive(row.archive, there)
    moved: dict[str, str] = {}
    names = {one.name for one in moving}
    try:
        for alias in aliases_of(row.path.stem, remote, there.store):
            if alias.name in names and alias.sha256 is not None and alias.sha256 != made.sha256:
                before_it = alias.sha256
                move_alias(alias, made.sha256, there.store, remote)
                moved[alias.name] = before_it
    finally:
        if moved:  # what was moved goes back with the rest
            journal.note(replace(entry, aliases={**entry.aliases, **moved}))
    return replace(row, aliases=tuple(moved)), [one for one in pointing if one not in moving]


def _unmoved(row: PatchedRecipe, kept: Sequence[Pointing], holding: Holding | None) -> EnvbuilderError:
    said = "; ".join(
        f"{one.name} still points to {one.sha256[:12]}, which holds {', '.join(labels_of(one.held))}"
        for one in kept
    )
    archive = row.archive or row.before
    name = "ARCHIVE" if archive is None else archive.name
    push = f"envbuilder push {'ARCHIVE' if archive is None else relative(archive)}"
    moves = ", ".join(f"`envbuilder alias {one.name} {name}`" for one in kept)
    return StoreError(said, hint=f"with a key that the store trusts, `{push}` and {moves}")


def _images(row: PatchedRecipe, holding: Holding) -> EnvbuilderError:
    said = "; ".join(
        f"{one.name} is an image of {one.sha256[:12]}, which holds {', '.join(labels_of(one.held))}"
        for one in holding.images
    )
    archive = row.archive or row.before
    path = "ARCHIVE" if archive is None else relative(archive)
    names = [
        one.name if "@" not in one.name else f"{one.name.partition('@')[0]}:TAG" for one in holding.images
    ]
    return StoreError(said, hint=", ".join(f"`envbuilder push {path} {name}`" for name in names))
