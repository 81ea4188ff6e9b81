"""The difference of two sides, as tables, Markdown or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from envbuilder.archive.manifest import ManifestFile
from envbuilder.compare.sides import Package, Side
from envbuilder.errors import RecipeError
from envbuilder.util.printable import printable_line
from envbuilder.util.text import counted, human

Change = Literal["added", "removed", "changed"]
_SHOWN: Final = 20
"""How many files are listed, the largest changes first; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changed:
    """A value that differs between the sides; None: that side has none."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedPackage:
    """A package that differs."""

    name: str
    change: Change
    before: Package | None
    after: Package | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedFile:
    """A file that differs."""

    path: str
    change: Change
    before: int | None
    """Bytes."""
    after: int | None
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What changed from one side to the other."""

    kind: str
    before: str
    after: str
    facts: tuple[Changed, ...]
    demands: tuple[Changed, ...]
    packages: tuple[ChangedPackage, ...]
    files: tuple[ChangedFile, ...]
    """Largest change first."""
    sizes: tuple[tuple[str, int, int], ...]
    """Sizes in bytes before and after, by name."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.facts or self.demands or self.packages or self.files)

    def tables(self) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
        """Return a title, headings and rows of each table that has any rows."""
        files = self.files[:_SHOWN]
        more = len(self.files) - len(files)
        title = f"{files_said(self.files)}{f'; the largest {_SHOWN}' if more > 0 else ''}"
        tables: list[tuple[str, Sequence[str], list[tuple[str, ...]]]] = [
            ("Made for", ("", "before", "after"), _values(self.facts)),
            ("Demands", ("", "before", "after"), _values(self.demands)),
            (
                "Packages",
                ("package", "", "before", "after", "size"),
                [_package(one) for one in self.packages],
            ),
            ("Sizes", ("", "before", "after", "difference"), [_size(*one) for one in self.sizes]),
            (title, ("file", "", "size"), [_file(one) for one in files]),
        ]
        return [table for table in tables if table[2]]

    def markdown(self) -> str:
        """Return the tables as Markdown, for a pull request."""
        lines = [f"### {_code(self.before)} → {_code(self.after)}", ""]
        if self.is_empty:
            return "\n".join([*lines, "No difference.", ""])
        for title, headings, rows in self.tables():
            folded = "file" in headings
            lines += [f"<details><summary>{title}</summary>"] if folded else [f"**{title}**"]
            lines += ["", _row(headings), _row(["---"] * len(headings))]
            name = _code if headings[0] else _cell
            lines += [_row([name(row[0]), *map(_cell, row[1:])]) for row in rows]
            lines += ["", "</details>", ""] if folded else [""]
        return "\n".join(lines)


def compare(before: Side, after: Side) -> Difference:
    """Return what changed from *before* to *after*.

    Raises:
        RecipeError: they are of different kinds.
    """
    if before.kind != after.kind:
        raise RecipeError(
            f"{before.name} is a{'n' if before.kind == 'archive' else ''} {before.kind}, "
            f"{after.name} a{'n' if after.kind == 'archive' else ''} {after.kind}",
            hint="compare two recipes, two locks or two archives",
        )
    sizes = (
        ("archive" if before.kind == "archive" else "artifacts", before.size, after.size),
        ("unpacked", before.unpacked_size, after.unpacked_size),
    )
    return Difference(
        kind=before.kind,
        before=before.name,
        after=after.name,
        facts=_changed(before.facts, after.facts),
        demands=_changed(before.demands, after.demands),
        packages=_changed_packages(before.packages, after.packages),
        files=_changed_files(before.files, after.files),
        sizes=tuple((name, one, two) for name, one, two in sizes if one is not None and two is not None),
    )


def files_said(files: Iterable[ChangedFile]) -> str:
    """Count the files that were added, removed and changed, with their sizes."""
    said = []
    for change in ("added", "removed", "changed"):
        sizes = [(file.after or 0) - (file.before or 0) for file in files if file.change == change]
        if sizes:
            said.append(f"{counted(len(sizes), 'file')} {change} ({_signed(sum(sizes))})")
    return ", ".join(said)


def _changed(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> tuple[Changed, ...]:
    names = dict.fromkeys([*before, *after])
    return tuple(
        Changed(name=name, before=before.get(name), after=after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    )


def _changed_packages(
    before: Mapping[str, Package], after: Mapping[str, Package]
) -> tuple[ChangedPackage, ...]:
    return tuple(
        ChangedPackage(
            name=name,
            change=_change(name in before, name in after),
            before=before.get(name),
            after=after.get(name),
        )
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


def _changed_files(
    before: Mapping[str, ManifestFile], after: Mapping[str, ManifestFile]
) -> tuple[ChangedFile, ...]:
    changed = [
        ChangedFile(
            path=path,
            change=_change(path in before, path in after),
            before=before[path].size if path in before else None,
            after=after[path].size if path in after else None,
        )
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    ]
    return tuple(sorted(changed, key=lambda one: (-abs((one.after or 0) - (one.before or 0)), one.path)))


def _change(was: bool, is_now: bool) -> Change:
    return "changed" if was and is_now else "added" if is_now else "removed"


# -- rows ------------------------------------------------------------------------------------------


def _values(changed: Iterable[Changed]) -> list[tuple[str, ...]]:
    return [(one.name, one.before or "none", one.after or "none") for one in changed]


def _package(one: ChangedPackage) -> tuple[str, ...]:
    before, after = one.before, one.after
    sizes = (before.size if before else 0, after.size if after else 0)
    size = _signed(sizes[1] - sizes[0]) if None not in sizes and any(sizes) else ""  # type: ignore[operator]  # none is None
    versions = [side.version if side else "" for side in (before, after)]
    if one.change == "changed" and versions[0] == versions[1]:
        versions[1] += " (another file)"
    return one.name, one.change, *versions, size


def _size(name: str, before: int, after: int) -> tuple[str, ...]:
    return name, human(before), human(after), _signed(after - before)


def _file(one: ChangedFile) -> tuple[str, ...]:
    return one.path, one.change, _signed((one.after or 0) - (one.before or 0))


def _signed(size: int) -> str:
    return f"{'+' if size > 0 else '-' if size < 0 else '±'}{human(abs(size))}"


# -- Markdown --------------------------------------------------------------------------------------


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Escape *text*, so that no part of it becomes a table, markup, a mention or a link."""
    text = re.sub(r"([\\`*_|<>@\[\]~#&$:])", r"\\\1", printable_line(" ".join(text.split())))
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text)  # GitHub turns these into links


def _code(text: str) -> str:
    """Return *text* as code; it cannot contain a backtick, and a bar would end the cell."""
    return f"`{printable_line(' '.join(text.replace('`', chr(0x2019)).split()))}`".replace("|", "\\|")
