"""A base from this machine's CPython: copied, and made relocatable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.kept import find_kept
from envbuilder.archive.segment import Excluded
from envbuilder.base.interpreter import Interpreter, describe, linked_libraries
from envbuilder.base.interpreter_files import InterpreterFile, interpreter_files
from envbuilder.base.provider import HISTORY, Base, described_by_conda_pack
from envbuilder.base.relocate import (
    is_elf,
    mask_paths,
    relocated_sysconfigdata,
    set_runpaths,
    without_debug,
)
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import LockedInterpreter


@dataclass(frozen=True, kw_only=True, slots=True)
class CPythonBase:
    """A base made from a CPython of this machine."""

    found: Interpreter

    @property
    def interpreter(self) -> LockedInterpreter:
        """The interpreter, as recorded in a lock."""
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
        """Identifies the exact bytes of the base."""
        return self.interpreter.digest

    def executable(self) -> Path:
        """Return its Python executable."""
        return self.found.executable

    def lay_out(self, folder: Path, rules: PackRules, wanted: Mapping[str, str] | None = None) -> Base:
        """Copy it into *folder* and relocate it, see :func:`lay_out_base`."""
        return lay_out_base(self.found, folder, rules, wanted)


def lay_out_base(
    interpreter: Interpreter, folder: Path, rules: PackRules, wanted: Mapping[str, str] | None = None
) -> Base:
    """Describe *interpreter* for an environment; copy the files that must change into *folder*, which must be empty.

    Nothing of the interpreter is changed or linked to. What packages import of it (*wanted*) stays.
    """
    files = {file.target: file for file in interpreter_files(interpreter)}
    left_out = {target: pattern for target in files if (pattern := rules.excluded_by(target)) is not None}
    sources = {target: file.source.read_bytes for target, file in files.items() if file.source is not None}
    kept = find_kept(
        {target: read for target, read in sources.items() if target not in left_out},
        {target: read for target, read in sources.items() if target in left_out and rules.yields(target)},
        rules=rules,
        minor=interpreter.minor,
        python=lambda: interpreter.executable,
        wanted=wanted,
    )
    left_out = {target: pattern for target, pattern in left_out.items() if target not in kept.paths}
    unchanged = _copy_what_changes(
        interpreter, folder, [file for target, file in files.items() if target not in left_out]
    )
    _relocate(interpreter, folder)
    history = folder / HISTORY
    history.parent.mkdir()
    history.write_text("")
    described = described_by_conda_pack(folder)
    sizes: dict[str, list[int]] = {}
    for target, pattern in left_out.items():
        source = files[target].source
        sizes.setdefault(pattern, []).append(source.stat().st_size if source is not None else 0)
    return replace(
        described,
        entries=(*unchanged, *described.entries),
        excluded=tuple(Excluded(pattern, len(one), sum(one)) for pattern, one in sizes.items()),
        kept=kept.paths,
    )


def _copy_what_changes(
    interpreter: Interpreter, folder: Path, files: Sequence[InterpreterFile]
) -> list[Entry]:
    """Copy the files and libraries that must change; return the others."""
    unchanged: list[Entry] = []
    for file in files:
        if file.source is None:
            unchanged.append(Entry(file.target, 0o777, link=file.link))
        else:
            unchanged += copy_changed(file.source, file.target, folder, interpreter.built_at)
    libraries = linked_libraries(interpreter)
    for source in sorted({path for file in files for path in libraries.get(file.target, ())}):
        unchanged += copy_changed(source, f"lib/{source.name}", folder, interpreter.built_at)
    (folder / f"lib/python{interpreter.minor}/site-packages").mkdir(parents=True, exist_ok=True)
    return unchanged


def copy_changed(source: Path, target: str, folder: Path, places: Sequence[str]) -> list[Entry]:
    """Copy a file into *folder* if it must change, else return it."""
    try:
        data = source.read_bytes()
    except OSError as error:
        raise AssembleError(f"{source} cannot be read: {error.strerror}") from error
    # By what is in it, as the interpreter's digest is: a copy of it may have other modes.
    mode = 0o755 if is_elf(data) or data.startswith(b"#!") else 0o644
    cleaned = without_debug(data) if is_elf(data) else data
    described = target.rpartition("/")[2].startswith("_sysconfigdata")
    if not described:  # whose prefix _relocate replaces by something better
        cleaned = mask_paths(cleaned, places)
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
        path.write_bytes(mask_paths(text.encode(), interpreter.built_at))


def _starts_as_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return is_elf(file.read(4))
