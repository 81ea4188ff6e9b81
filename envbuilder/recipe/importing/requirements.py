"""Read the lines of a requirements file, or of a conda file's ``pip:`` section."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.indexes import ELSEWHERE, is_nightly, variant_of
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirement import read_requirement
from envbuilder.recipe.importing.wanted import Imported, Wanted, parse
from envbuilder.util.files import read_text as read_whole_text

LARGEST: Final = 4 * 2**20
"""Largest imported file, in bytes; a lock with the hashes of every file has some hundred KiB."""
_DEEPEST: Final = 16
"""Largest depth of requirements files that include others."""
_PLACES: Final = (
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "--no-index",
    "--trusted-host",
)
_MAIN: Final = ("-i", "--index-url")
_NO_BINARY: Final = {
    ":all:": "it names no project: list those to build from source under build-from-source",
    ":none:": "that is so anyway: wheels are taken",
}
_EDITABLE: Final = ("-e", "--editable")
_FILES: Final = ("-r", "--requirement")
_CONSTRAINTS: Final = ("-c", "--constraint")
_SETTING: Final = {
    "-i": 'index-url = "…"',
    "--index-url": 'index-url = "…"',
    "--extra-index-url": 'extra-index-urls = ["…"]',
    "-f": 'find-links = ["…"]',
    "--find-links": 'find-links = ["…"]',
    "--no-index": "no-index = true",
    "--trusted-host": 'trusted-hosts = ["…"]',
}


def is_requirements(text: str) -> bool:
    """Return whether *text* looks like a requirements file: most lines are requirements, options, or paths."""
    lines = [bare for _, line in _numbered(text) if (bare := _bare(line))]
    unread = _unread(text)
    return len(lines) > 2 * len(unread)


def first_unread(text: str) -> str:
    """Return the first line of *text* that is not valid in a requirements file; empty if there is none."""
    return next((f"line {number} is no requirement: {line[:80]!r}" for number, line in _unread(text)), "")


def _unread(text: str) -> list[tuple[int, str]]:
    return [
        (number, bare)
        for number, line in _numbered(text)
        if (bare := _bare(line))
        and not bare.startswith(("-", ".", "/", "~"))
        and not re.match(r"[a-z]+(\+[a-z]+)?://", bare)
        and not bare.endswith(".whl")
        and isinstance(parse(_without_options(bare)), str)
    ]


def read_requirements(path: Path) -> Imported:
    """Read the requirements file *path*, with the files that it includes.

    Raises:
        RecipeError: it cannot be read.
    """
    found = Wanted(compares=True)
    lines = read_lines(path)
    reader = _Reader(found=found, inside=(path.resolve(),))
    for line in lines:
        reader.read(line, path.parent)
    name = path.parent.resolve().name if path.stem == "requirements" else path.stem
    return Imported(path=path, kind="a requirements file", name=name, wanted=found)


def read_pip_lines(lines: Iterable[SourceLine], folder: Path) -> Wanted:
    """Read *lines*; files that they name are relative to *folder*."""
    found = Wanted(compares=True)
    reader = _Reader(found=found, inside=())
    for line in lines:
        reader.read(line, folder)
    return found


def read_lines(path: Path) -> list[SourceLine]:
    """Return the lines of a requirements file, with continuation lines joined, each with its number.

    Raises:
        RecipeError: it cannot be read.
    """
    text = read_text(path)
    return [
        SourceLine(text=line.strip(), place=f"{path}:{number}")
        for number, line in _numbered(text)
        if line.strip()
    ]


def read_text(path: Path) -> str:
    """Return the text of a file that is imported.

    Raises:
        RecipeError: it cannot be read, is too large, or is neither UTF-8 nor UTF-16 with a BOM.
    """
    try:
        return read_whole_text(path, most=LARGEST).removeprefix("\ufeff")
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        text = _utf16(error.object)
        if text is None:
            raise RecipeError(f"{path} is not UTF-8 text") from error
        return text
    except ValueError as error:  # a NUL byte in the name
        raise RecipeError(f"{path} cannot be read: {error}") from error


def _utf16(data: bytes) -> str | None:
    """Return the text of *data* if it is UTF-16 with a BOM, as PowerShell's `>` writes; otherwise None."""
    if not data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return None
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError:
        return None


@dataclass(kw_only=True, slots=True)
class _Reader:
    found: Wanted
    inside: tuple[Path, ...]
    """The files that are being read."""
    constrains: bool = False

    def read(self, line: SourceLine, folder: Path) -> None:
        text = _bare(line.text)
        if not text:
            return
        if re.search(r"\$\{[A-Z0-9_]+\}", text):
            why = "it contains an environment variable: a recipe must mean the same on every machine"
            self.found.remarks.append(line.left_out(why))
        elif text.startswith("-"):
            match = re.match(r"(--[\w-]+|-\w?)[\s=]*(.*)", text)
            assert match is not None
            self._option(line, match[1], match[2].strip().strip("\"'"), folder)
        elif self.constrains:
            self.found.constrain(line, _without_options(text))
        else:
            self._requirement(line, text, folder)

    def _requirement(self, line: SourceLine, text: str, folder: Path) -> None:
        bare = _without_options(text)
        requirement = read_requirement(bare, folder)
        if isinstance(requirement, str):
            self.found.remarks.append(line.left_out(requirement))
            return
        options = text[len(bare) :]
        for address in re.findall(r"--(?:extra-)?index-url[\s=]+(\S+)", options):
            if (variant := variant_of(address)) is not None:
                self.found.own_index.append((requirement, variant))
        if options.strip():
            self.found.notes.append(line.changed(f"{bare}: {_said_of_options(options)}"))
        self.found.requirements.append((line, requirement))

    def _option(self, line: SourceLine, option: str, value: str, folder: Path) -> None:
        found = self.found
        if option in _PLACES:
            self._place(line, option, value)
        elif option in (*_FILES, *_CONSTRAINTS):
            self._file(line, folder / value, constrains=option in _CONSTRAINTS)
        elif option in _EDITABLE:
            self._editable(line, value, folder)
        elif option == "--pre":
            found.prereleases = line
            found.remarks.append(line.changed("prereleases: true"))
        elif option == "--no-binary" and value in (":all:", ":none:"):
            found.remarks.append(line.left_out(_NO_BINARY[value]))
        elif option == "--no-binary":
            names = [name.strip() for name in value.split(",")]
            found.build += names
            found.remarks.append(line.changed(f"build-from-source: [{', '.join(names)}]"))
        elif option in ("--require-hashes", "--only-binary", "--prefer-binary"):
            found.remarks.append(line.changed("a lock pins every file by its hash, and takes wheels"))
        elif option == "--use-feature":
            found.remarks.append(line.left_out("an option of pip that does not choose packages"))
        else:
            found.remarks.append(line.left_out("pip takes no such option in a file"))

    def _place(self, line: SourceLine, option: str, value: str) -> None:
        """Read an option that sets where packages come from."""
        found = self.found
        variant = variant_of(value) if option not in ("--no-index", "--trusted-host") else None
        if option in (*_MAIN, "--no-index"):
            # For pip it replaces PyPI, and every index of an earlier line.
            for before in [one for one in found.indexes if not one[0].text.startswith(("-f", "--find"))]:
                found.indexes.remove(before)
                found.remarks.append(before[0].left_out(f"{line.text} takes its place"))
            found.elsewhere.clear()
        if variant is None and option in (*_MAIN, "--extra-index-url"):
            found.elsewhere.add(option)
        if is_nightly(value):
            found.nightly.append(line)
        elif variant is not None:
            found.indexes.append((line, variant))
        else:
            found.remarks.append(line.left_out(f"{ELSEWHERE}: {_SETTING[option]}"))

    def _editable(self, line: SourceLine, value: str, folder: Path) -> None:
        requirement = read_requirement(value, folder)
        if isinstance(requirement, str):
            self.found.remarks.append(line.left_out(requirement))
            return
        self.found.notes.append(line.changed("built into a wheel when the recipe is locked, not editable"))
        self.found.requirements.append((line, requirement))

    def _file(self, line: SourceLine, path: Path, *, constrains: bool) -> None:
        if re.match(r"[a-z]+://", path.name) or "://" in line.text:
            self.found.remarks.append(
                line.left_out("a file at an address may change: download it and name that")
            )
            return
        try:
            lines = read_lines(path)
        except RecipeError as error:
            self.found.remarks.append(line.left_out(error.message))
            return
        real = path.resolve()
        if real in self.inside or len(self.inside) > _DEEPEST:
            self.found.remarks.append(line.left_out("that file includes itself"))
            return
        inner = _Reader(
            found=self.found, inside=(*self.inside, real), constrains=constrains or self.constrains
        )
        for one in lines:
            inner.read(one, path.parent)
        self.found.remarks.append(line.changed("its lines are in the recipe"))


# -- texts -----------------------------------------------------------------------------------------


def _numbered(text: str) -> list[tuple[int, str]]:
    """Return the lines, with continuation lines joined, each with the number of its first line."""
    found: list[tuple[int, str]] = []
    joined, first = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        first = first or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        found.append((first, joined + line))
        joined, first = "", 0
    return [*found, (first, joined)] if joined else found


def _bare(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def _without_options(text: str) -> str:
    return re.split(r"\s--?[a-z]", text)[0].strip()


def _said_of_options(options: str) -> str:
    if "--hash" in options and not re.search(r"--(?!hash)", options):
        return "its hashes are those of the lock"
    if "index-url" in options:
        return "pip ignores an index on the line of one requirement; what it names is taken for the recipe's"
    return "without its options, which a lock of wheels does not need"
