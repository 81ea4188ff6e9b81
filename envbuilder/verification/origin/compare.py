"""Compare members with the expected files: unknown, changed and missing ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from envbuilder.archive.extract import Contents, Member
from envbuilder.archive.manifest import ENVIRONMENT_PATH, MANIFEST_PATH
from envbuilder.archive.segment import FileFacts
from envbuilder.verification.origin.expected import Contribution
from envbuilder.verification.report import some

OWN = "envbuilder"
_PYCACHE = "/__pycache__/"


@dataclass(kw_only=True, slots=True)
class Comparison:
    """The result for each member. Each list contains paths, some with a reason in brackets."""

    accounted: Counter[str] = field(default_factory=Counter)
    """Members that match, by their origin."""
    foreign: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    changed_of: set[str] = field(default_factory=set)
    """Origins with changed or missing members."""
    missing: list[str] = field(default_factory=list)
    bytecode: list[str] = field(default_factory=list)
    """Bytecode of otherwise unknown origin."""
    unknown: list[str] = field(default_factory=list)
    """Members that may come from artifacts that are not on this machine."""

    @property
    def wrong(self) -> list[str]:
        """The problems, as messages."""
        kinds = (
            ("files of unknown origin", self.foreign),
            ("files that differ from their origin", self.changed),
            ("files that are missing", self.missing),
        )
        return [f"{what}: {some(paths)}" for what, paths in kinds if paths]


def compare(
    contents: Contents,
    contributions: Iterable[Contribution],
    environment_files: Iterable[Contribution],
    claimed: Callable[[str], bool],
    doubtful: str | None,
) -> Comparison:
    """Compare the members of *contents*, except manifest and bytecode, with *contributions*.

    The first with a path wins.

    One of *environment_files* must exist. *claimed* says which members may come from missing artifacts; *doubtful*
    is the origin of files that unknown code may have changed.
    """
    found = Comparison()
    expected: dict[str, tuple[FileFacts, str]] = {}
    folders: set[str] = set()
    for one in contributions:
        folders.update(one.folders)
        for file in one.files:
            expected.setdefault(file.path, (file, one.label))
    choices = [file for one in environment_files for file in one.files]
    own = contents.members.get(ENVIRONMENT_PATH)
    if choices:
        chosen = next((file for file in choices if own is not None and same(own, file)), choices[0])
        expected[ENVIRONMENT_PATH] = (chosen, OWN)
    for path, member in contents.members.items():
        if path == MANIFEST_PATH:
            continue
        known = expected.get(path)
        if known is not None and same(member, known[0]):
            found.accounted[known[1]] += 1
        elif known is None and _PYCACHE in path and path.endswith(".pyc"):
            found.bytecode.append(path)
        elif known is None:
            (found.unknown if claimed(path) else found.foreign).append(path)
        elif known[1] == doubtful:
            found.unknown.append(path)
        else:
            found.changed.append(f"{path} ({known[1]})")
            found.changed_of.add(known[1])
    for path, (_, label) in expected.items():
        if path not in contents.members and label != doubtful:
            found.missing.append(f"{path} ({label})")
            found.changed_of.add(label)
    found.foreign += [f"{path}/" for path in _foreign_folders(contents, folders) if not claimed(path)]
    return found


def compare_bytecode(found: Comparison, compiled: Mapping[str, str], contents: Contents) -> None:
    """Add the bytecode to *found*; *compiled* has its sha256 by path."""
    for path in found.bytecode:
        sha256 = compiled.get(path)
        member = contents.members[path]
        if sha256 is None:
            found.foreign.append(path)
        elif same(member, FileFacts(path, 0o644, member.size, sha256)):
            found.accounted["compiled again"] += 1
        else:
            found.changed.append(f"{path} (its source)")
    found.missing += [f"{path} (its source)" for path in compiled if path not in contents.members]


def same(member: Member, file: FileFacts) -> bool:
    """Whether a member is *file*: content, kind and mode."""
    if member.link is not None or file.link is not None:
        return member.link == file.link
    return (member.sha256, member.mode & 0o7777) == (file.sha256, file.mode)


def _foreign_folders(contents: Contents, expected: set[str]) -> list[str]:
    needed = set(expected)
    for path in (*contents.members, *expected):
        while path := path.rpartition("/")[0]:
            if path in needed:
                break
            needed.add(path)
    return sorted(contents.folders - needed - {""})
