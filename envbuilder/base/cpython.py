"""A base from this machine's CPython: copied, and made relocatable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.segment import Excluded
from envbuilder.base.interpreter import Interpreter, describe, interpreter_files, linked_libraries
from envbuilder.base.provider import HISTORY, Base, described_by_conda_pack
from envbuilder.base.relocate import (
    is_elf,
    relocated_sysconfigdata,
    set_runpaths,
    without_debug,
    without_places,
)
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import LockedInterpreter


@dataclass(frozen=True, kw_only=True, slots=True)
class CPythonBase:
    """The base that a CPython of this machine is."""

    found: Interpreter

    @property
    def interpreter(self) -> LockedInterpreter:
        """The interpreter, as a lock says it."""
        return describe(self.found)

    @property
    def version(self) -> str:
        """``3.11.7``."""
        return self.found.version

    @property
    def minor(self) -> str:
        """``3.11``."""
        return self.found.minor

    @property
    def key(self) -> str:
        """What decides every byte of the base."""
        return self.interpreter.digest

    def executable(self) -> Path:
        """Return its Python."""
        return self.found.executable

    def lay_out(self, folder: Path, rules: PackRules) -> Base:
        """Copy and relocate it into *folder*, see :func:`lay_out_base`."""
        return lay_out_base(self.found, folder, rules)


def lay_out_base(interpreter: Interpreter, folder: Path, rules: PackRules) -> Base:
    """Describe *interpreter* as it goes into an environment; what must be changed for that is copied into *folder*,
    which must be empty.

    Nothing of the interpreter is changed or linked to.
    """
    unchanged, excluded = _copy_what_changes(interpreter, folder, rules)
    _relocate(interpreter, folder)
    history = folder / HISTORY
    history.parent.mkdir()
    history.write_text("")
    described = described_by_conda_pack(folder)
    return replace(described, entries=(*unchanged, *described.entries), excluded=tuple(excluded))


def _copy_what_changes(
    interpreter: Interpreter, folder: Path, rules: PackRules
) -> tuple[list[Entry], list[Excluded]]:
    """Return what needs no copy, and what *rules* leave out."""
    left_out: dict[str, list[int]] = {}
    kept: list[str] = []
    unchanged: list[Entry] = []
    for file in interpreter_files(interpreter):
        pattern = rules.excluded_by(file.target)
        if pattern is not None:
            left_out.setdefault(pattern, []).append(file.source.stat().st_size if file.source else 0)
            continue
        kept.append(file.target)
        if file.source is None:
            unchanged.append(Entry(file.target, 0o777, link=file.link))
        else:
            unchanged += _copy_changed(file.source, file.target, folder, interpreter.built_at)
    libraries = linked_libraries(interpreter)
    for source in sorted({path for target in kept for path in libraries.get(target, ())}):
        unchanged += _copy_changed(source, f"lib/{source.name}", folder, interpreter.built_at)
    (folder / f"lib/python{interpreter.minor}/site-packages").mkdir(parents=True, exist_ok=True)
    return unchanged, [Excluded(pattern, len(sizes), sum(sizes)) for pattern, sizes in left_out.items()]


def _copy_changed(source: Path, target: str, folder: Path, places: Sequence[str]) -> list[Entry]:
    """Copy a file into *folder* if it is to be changed, else return it."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise AssembleError(f"{source} cannot be read: {error.strerror}") from error
    # By what is in it, as the interpreter's digest is: a copy of it may have other modes.
    mode = 0o755 if is_elf(data) or data.startswith(b"#!") else 0o644
    cleaned = without_debug(data) if is_elf(data) else data
    described = target.rpartition("/")[2].startswith("_sysconfigdata")
    if not described:  # whose prefix _relocate replaces by something better
        cleaned = without_places(cleaned, places)
    if cleaned == data and not described and not is_elf(data):
        return [Entry(target, mode, source=source)]
    place = folder / target
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(cleaned)
    place.chmod(mode)
    return []


def _relocate(interpreter: Interpreter, folder: Path) -> None:
    library = folder / "lib"
    places = [library, library / f"python{interpreter.minor}" / "lib-dynload", folder / "bin"]
    files = [path for place in places for path in sorted(place.glob("*")) if not path.is_symlink()]
    elf = [path for path in files if path.is_file() and _starts_as_elf(path)]
    set_runpaths(
        {
            "$ORIGIN/../lib": [path for path in elf if path.parent == folder / "bin"],
            "$ORIGIN/../..": [path for path in elf if path.parent.name == "lib-dynload"],
            "$ORIGIN": [path for path in elf if path.parent == library],
        }
    )
    for path in (library / f"python{interpreter.minor}").glob("_sysconfigdata*.py"):
        text = relocated_sysconfigdata(path.read_text(), interpreter.prefixes)
        path.write_bytes(without_places(text.encode(), interpreter.built_at))


def _starts_as_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return is_elf(file.read(4))
