"""Count how often a compiler runs, with wrappers before it on PATH."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

_NAMES: Final = ("g++", "gcc", "c++", "cc", "clang++", "clang", "nvcc", "ptxas")
_SYSTEM: Final = "/usr/local/bin:/usr/bin:/bin"
# A compiler that is only asked for its version, or to read headers, compiles nothing.
_SCRIPT: Final = """\
#!/bin/sh
compiles=yes
for word in "$@"; do
    case $word in --version|-v|-E|-dumpversion|-dumpmachine|--help*) compiles=no ;; esac
done
[ $compiles = no ] || echo "$0 $*" >> {log}
# By its bare name, as it would be without this: what a compiler says of itself with -v, and torch with it keeps what it
# found out about processors by, has the name that it was called by.
PATH={system} exec {name} "$@"
"""


class CompilerCount:
    """A folder of wrappers for this machine's compilers, to be put before them on PATH."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._log = folder / "runs.log"
        for name in _NAMES:
            if shutil.which(name, path=_SYSTEM) is not None:
                script = folder / name
                script.write_text(_SCRIPT.format(log=self._log, system=_SYSTEM, name=name))
                script.chmod(0o755)

    def runs(self) -> list[str]:
        """Return the command of each compilation so far."""
        return self._log.read_text().splitlines() if self._log.exists() else []

    def count(self) -> int:
        """Return how many compilations there were so far."""
        return len(self.runs())
