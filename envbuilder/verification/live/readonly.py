"""Check whether anything writes into an environment, which fails on a read-only mount such as an image."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from envbuilder.verification.report import Check, omitted, passed, some

ID: Final = "live.readonly"
_COMPILE: Final = "`ENV/bin/python3 -m compileall -q ENV/lib`, and pack it again"
_ELSEWHERE: Final = (
    "have it write elsewhere: caches respect XDG_CACHE_HOME, NUMBA_CACHE_DIR, TORCHINDUCTOR_CACHE_DIR"
)
_DENIED: Final = re.compile(r"Read-only file system(?:: '([^']{1,300})')?")  # Python's message for EROFS
_State = tuple[int, int, int]


class Watched:
    """The state of an environment's folder, for a later comparison."""

    def __init__(self, folder: Path) -> None:
        """Record size, time and inode of every file and folder."""
        self._folder = folder
        self._before = dict(_states(folder))

    def changes(self) -> list[str]:
        """List paths that were written, changed or removed since."""
        after = dict(_states(self._folder))
        changed = [path for path, state in after.items() if self._before.get(path) != state]
        gone = [path for path in self._before if path not in after]
        # A folder's time changes with its entries, which are more precise.
        inner = {os.path.dirname(path) for path in (*changed, *gone)}
        return sorted(path for path in (*changed, *gone) if path not in inner)

    def check(
        self,
        paths: Iterable[str],
        *,
        foreign: bool = False,
        readonly: bool = False,
        ran: Sequence[Check] = (),
    ) -> Check:
        """Return the check for an environment with the files *paths*, in which the checks *ran* were made.

        *foreign*: another tool made it. *readonly*: it was mounted read-only. Then nothing can have been written,
        and the check shows that everything works all the same, or names the writes that failed.
        """
        denied = {found[1] or one.id: None for one in ran for found in _DENIED.finditer(one.found)}
        if readonly and denied:
            text = f"mounted read-only, writing into the environment failed: {some(list(denied))}"
            return Check(id=ID, status="warning", found=text, fix=_ELSEWHERE)
        changes = self.changes()
        compiled = [path for path in changes if foreign and _is_bytecode(path)]
        written = [path for path in changes if path not in compiled]
        if written:
            text = f"written into the environment: {some(written)}; on a read-only mount that fails"
            return Check(id=ID, status="warning", found=text, fix=_ELSEWHERE)
        if compiled:
            text = f"modules were compiled on import, which a read-only mount repeats on every start: {some(compiled)}"
            return Check(id=ID, status="warning", found=text, fix=_COMPILE)
        bare = _without_bytecode(paths)
        if bare:
            then = "compiles them on every start" if readonly else "writes it beside them on import"
            text = f"{len(bare)} modules have no bytecode, so Python {then}: {some(bare)}"
            fix = _COMPILE if foreign else "pack: {bytecode: true}"
            return Check(id=ID, status="warning", found=text, fix=fix)
        broken = list(dict.fromkeys(one.id for one in ran if one.status == "failed"))
        if broken:
            return omitted(
                ID, f"not everything ran that might write into the environment: {some(broken)} failed"
            )
        if readonly:
            return passed(ID, "models were loaded, compiled and called while it was mounted read-only")
        return passed(
            ID, "nothing was written into the environment while models were loaded, compiled and called"
        )


def _is_bytecode(path: str) -> bool:
    return path.endswith((".pyc", "/__pycache__"))


def _states(folder: Path, above: str = "") -> Iterator[tuple[str, _State]]:
    """Yield the state of each file and folder in *folder*, by its path after the prefix *above*."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = above + entry.name
            status = entry.stat(follow_symlinks=False)
            yield path, (status.st_size, status.st_mtime_ns, status.st_ino)
            if entry.is_dir(follow_symlinks=False):
                yield from _states(Path(entry.path), f"{path}/")


def _without_bytecode(paths: Iterable[str]) -> list[str]:
    """List the modules without bytecode, if none of the environment's modules has any."""
    modules, compiled = [], False
    for path in paths:
        compiled = compiled or path.endswith(".pyc")
        if path.endswith(".py") and path.startswith("lib/python"):
            modules.append(path)
    return [] if compiled else sorted(modules)
