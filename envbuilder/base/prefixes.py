"""The prefix that conda writes into files when it installs them: find it, and make it relative where possible.

Packages are installed as if for :data:`NOWHERE`, a folder that is on no machine, so that the same packages give the
same bytes. What still names it is *cured* (it finds the environment wherever that is), known to be *harmless* (nothing
reads it when serving, or what reads it looks beside itself first), or *reported*.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from envbuilder.archive.elf import read_elf
from envbuilder.archive.globs import globs
from envbuilder.base.relocate import is_elf, relocated_sysconfigdata, set_runpaths
from envbuilder.util.documents import LISTING, parse_json_value, record_of

NOWHERE: Final = "/nowhere/envbuilder"
"""The prefix that packages are installed for: absolute, short enough for every placeholder, and not there."""
PREFIXES_PATH: Final = "share/envbuilder/prefixes.json"
"""The file of an environment that lists the files that contained the prefix."""
Outcome = Literal["cured", "harmless", "reported"]
_OUTCOMES: Final[dict[str, Outcome]] = {"cured": "cured", "harmless": "harmless", "reported": "reported"}

_HARMLESS: Final = {
    "conda-meta/**": "conda's own record of what was installed",
    "lib/libpython3.*": "Python searches beside itself first",
    "bin/python3*": "Python searches beside itself first",
    "lib/python3.*/config-3.*/**": "for building Python extensions",
    "lib/pkgconfig/**": "for building against the library",
    "share/pkgconfig/**": "for building against the library",
    "lib/cmake/**": "for building against the library",
    "share/cmake/**": "for building against the library",
    "**/*.la": "for building against the library",
    "**/*.a": "for building against the library",
    "bin/*-config": "for building against the library",
    "include/**": "says how the library was built",
    "share/man/**": "documentation",
    "share/doc/**": "documentation",
    "share/info/**": "documentation",
    "libexec/gcc/**": "GCC searches beside itself first",
    "lib/gcc/**": "GCC searches beside itself first",
    "bin/*-linux-gnu-*": "GCC and binutils search beside themselves first",
    "**/__pycache__/**": "recompiled when the base is packed",
}
_ACTIVATION: Final = re.compile(r"etc/conda/(de)?activate\.d/[^/]+\.sh")
_SHELL: Final = re.compile(rb"#! ?(/usr)?/bin/(env )?(ba|da|k)?sh\b")
_SHEBANG: Final = re.compile(
    rf"#! ?{re.escape(NOWHERE)}/bin/(?P<program>[^\s/]+)(?P<options>[^\n]*)".encode()
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixUse:
    """A file that contained the prefix."""

    path: str
    kind: Literal["text", "binary"]
    outcome: Outcome
    how: str
    """What was done, or why nothing needs to be done."""


def rewrite_prefixes(folder: Path) -> list[PrefixUse]:
    """Make every file under *folder* that contains :data:`NOWHERE` relative where possible; return what was done.

    Raises:
        AssembleError: a RUNPATH cannot be set.
    """
    uses = []
    for path in sorted(_files(folder), key=os.fsencode):
        if names_prefix(path):
            relative = str(path.relative_to(folder))
            uses.append(_cure(path, relative))
    return uses


def prefixes_text(uses: Sequence[PrefixUse]) -> str:
    """Return *uses* in the format of :data:`PREFIXES_PATH`."""
    return json.dumps([asdict(use) for use in uses], indent=1, sort_keys=True) + "\n"


def read_prefixes(data: bytes) -> list[PrefixUse]:
    """Read what :func:`prefixes_text` wrote.

    Raises:
        DocumentError: it is malformed.
    """
    rows = parse_json_value(data, where=PREFIXES_PATH, cap=LISTING)
    return [
        PrefixUse(
            path=row.file_path("path"),
            kind="text" if row.choice("kind", "text", "binary") == "text" else "binary",
            outcome=_OUTCOMES[row.choice("outcome", *_OUTCOMES)],
            how=row.free_text("how"),
        )
        for row in record_of({"files": rows}, where=PREFIXES_PATH).records("files")
    ]


def names_prefix(path: Path) -> bool:
    """Return whether a file contains the prefix."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(NOWHERE.encode()) >= 0


def _files(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _cure(path: Path, relative: str) -> PrefixUse:
    with path.open("rb") as file:
        head = file.read(4)
    if is_elf(head):
        return _cure_elf(path, relative)
    data = path.read_bytes()
    if b"\0" in data[:8192]:
        return _judged(path, relative, "binary")
    cured = _cured_text(data, relative)
    if cured is not None:
        # A copy of its own: what lies there may be a link into the cache that it was installed from.
        mode = path.stat().st_mode
        path.unlink()
        path.write_bytes(cured[0])
        path.chmod(mode)
        return PrefixUse(path=relative, kind="text", outcome="cured", how=cured[1])
    return _judged(path, relative, "text")


def _judged(path: Path, relative: str, kind: Literal["text", "binary"], done: str = "") -> PrefixUse:
    pattern = globs(tuple(_HARMLESS)).first_match(relative)
    if pattern is not None:
        return PrefixUse(path=relative, kind=kind, outcome="harmless", how=f"{done}{_HARMLESS[pattern]}")
    return PrefixUse(
        path=relative, kind=kind, outcome="reported", how=f"{done}contains a folder that will not exist"
    )


def _cure_elf(path: Path, relative: str) -> PrefixUse:
    with path.open("rb") as file:
        facts = read_elf(file)
    done = ""
    if facts is not None and any(NOWHERE in element for element in facts.runpath):
        up = "/".join([".."] * relative.count("/")) or "."
        elements = [
            element.replace(NOWHERE, f"$ORIGIN/{up}") if element.startswith(NOWHERE) else element
            for element in facts.runpath
        ]
        set_runpaths({":".join(dict.fromkeys(elements)): [path]})
        done = "its RUNPATH is relative; "
        if not names_prefix(path):
            return PrefixUse(path=relative, kind="binary", outcome="cured", how="its RUNPATH is relative")
    return _judged(path, relative, "binary", done)


# -- texts -----------------------------------------------------------------------------------------


def _cured_text(data: bytes, relative: str) -> tuple[bytes, str] | None:
    """Return the text without the prefix and how that was done, or None if that is impossible."""
    name = relative.rpartition("/")[2]
    how = []
    match = _SHEBANG.match(data)
    if match is not None:
        split = "-S " if match["options"].strip() else ""
        line = b"#!/usr/bin/env " + split.encode() + match["program"] + match["options"]
        data = line + data[match.end() :]
        how.append("begins with #!/usr/bin/env")
    if NOWHERE.encode() in data:
        text = data.decode("utf-8", "surrogateescape")
        cured = _cured_by_kind(text, relative, name)
        if cured is None:
            return None
        data = cured[0].encode("utf-8", "surrogateescape")
        how.append(cured[1])
    return (data, "; ".join(how)) if NOWHERE.encode() not in data else None


def _cured_by_kind(text: str, relative: str, name: str) -> tuple[str, str] | None:
    if name.startswith("_sysconfigdata") and name.endswith(".py"):
        return relocated_sysconfigdata(text, [NOWHERE]), "its prefix is the folder it is loaded from"
    if name.endswith(".pc"):
        up = "/".join([".."] * relative.count("/"))
        return text.replace(NOWHERE, "${pcfiledir}/" + up), "its prefix is relative to itself"
    if _ACTIVATION.fullmatch(relative):
        return _in_shell(text, "${CONDA_PREFIX}", "")
    if relative.startswith("bin/") and _SHELL.match(text.encode("utf-8", "surrogateescape")):
        set_it = 'ENVBUILDER_PREFIX=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)\n'
        return _in_shell(text, "${ENVBUILDER_PREFIX}", set_it)
    return None


def _in_shell(text: str, variable: str, first: str) -> tuple[str, str] | None:
    """Replace the prefix by *variable*, unless quoting would prevent its expansion."""
    for line in text.splitlines():
        at = line.find(NOWHERE)
        while at >= 0:
            if line[:at].count("'") % 2:
                return None
            at = line.find(NOWHERE, at + 1)
    text = text.replace(NOWHERE, variable)
    if first:
        shebang, _, rest = text.partition("\n")
        text = f"{shebang}\n{first}{rest}"
    return text, f"the shell expands the prefix ({variable})"
