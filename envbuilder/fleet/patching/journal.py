"""The journal of a patch, written before each change: to resume an interrupted patch, or to roll back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

from envbuilder.errors import IntegrityError
from envbuilder.util.documents import LISTING, DocumentError, Record, parse_json
from envbuilder.util.files import atomic_write, read_regular

NAME: Final = "patched.json"
FORMAT: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One recipe of a patch."""

    recipe: str
    """The path of its file."""
    lock: str
    """The path of its lock."""
    before: str
    """The text of the previous lock."""
    after: str | None = None
    """The text of the lock that the patch wrote; None: not yet."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Moved aliases, and the sha256 to which each pointed before."""
    found: tuple[str, ...] = ()
    """Descriptions of the affected components of the previous lock."""
    archive: str | None = None
    """The path of the previous lock's archive; None: it was not built."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patched:
    """One patch."""

    subject: str
    repositories: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    finished: bool = False

    def with_entry(self, entry: Entry) -> Patched:
        """Return a copy with *entry* for its recipe."""
        others = tuple(one for one in self.entries if one.recipe != entry.recipe)
        return replace(self, entries=(*others, entry))

    def entry(self, recipe: Path) -> Entry | None:
        """Return the entry of a recipe."""
        return next((one for one in self.entries if one.recipe == str(recipe)), None)


def read_journal(folder: Path) -> tuple[Patched, ...]:
    """Return the patches recorded in *folder*, the latest one last.

    Raises:
        IntegrityError: the journal cannot be read.
    """
    path = folder / NAME
    try:
        found = parse_json(read_regular(path, most=LISTING.size + 1), where=str(path), cap=LISTING)
        found.integer("format", FORMAT, FORMAT)
        return tuple(_patched(one) for one in found.records("patches"))
    except FileNotFoundError:
        return ()
    except (OSError, DocumentError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}") from error


def _patched(record: Record) -> Patched:
    return Patched(
        subject=record.text("subject"),
        repositories=record.texts("repositories"),
        entries=tuple(_entry(one) for one in record.records("entries")),
        finished=record.boolean("finished"),
    )


def _entry(record: Record) -> Entry:
    recipe, lock = Path(record.text("recipe")), Path(record.text("lock"))
    if not recipe.name:
        record.expected("recipe", "the path of a file")
    if lock != recipe.with_name(f"pylock.{recipe.stem}.toml"):  # it is written to
        record.expected("lock", "the lock beside the recipe")
    return Entry(
        recipe=str(recipe),
        lock=str(lock),
        before=record.unicode_text("before", longest=2**26),
        after=record.unicode_text("after", longest=2**26) if "after" in record else None,
        aliases=record.text_map("aliases"),
        found=record.texts("found") if "found" in record else (),
        archive=record.text("archive") if "archive" in record else None,
    )


def write_journal(folder: Path, patches: tuple[Patched, ...]) -> None:
    """Write the journal atomically.

    Raises:
        IntegrityError: it cannot be written.
    """
    path = folder / NAME
    text = json.dumps({"format": FORMAT, "patches": [asdict(one) for one in patches]}, indent=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(path, f"{text}\n".encode())
    except OSError as error:
        raise IntegrityError(f"{path} cannot be written: {error.strerror}") from error


class Journal:
    """The journal of a running patch."""

    def __init__(self, folder: Path, subject: str, repositories: Sequence[Path]) -> None:
        self._folder = folder
        self._earlier = read_journal(folder)
        last = self._earlier[-1] if self._earlier else None
        if last is not None and last.subject == subject and not last.finished:
            self._earlier, self.patched = self._earlier[:-1], last  # it was interrupted
        else:
            self.patched = Patched(subject=subject)
        named = dict.fromkeys([*self.patched.repositories, *(str(one.absolute()) for one in repositories)])
        self.patched = replace(self.patched, repositories=tuple(named))
        self._written = last is not None

    def entry(self, recipe: Path) -> Entry | None:
        """Return the entry of a recipe."""
        return self.patched.entry(recipe)

    def note(self, *entries: Entry) -> None:
        """Write it, with *entries* for their recipes."""
        for entry in entries:
            self.patched = self.patched.with_entry(entry)
        patches = (*self._earlier, *([self.patched] if self.patched.entries else []))
        if patches or self._written:
            write_journal(self._folder, patches)
            self._written = True

    def forget(self, recipe: Path) -> None:
        """Remove the entry of a recipe whose lock was restored."""
        others = tuple(one for one in self.patched.entries if one.recipe != str(recipe))
        self.patched = replace(self.patched, entries=others)

    def finish(self) -> None:
        """Record that the patch is complete."""
        self.patched = replace(self.patched, finished=True)
        self.note()
