"""Paths contained in several artifacts: the first artifact in the archive's order contributes each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envbuilder.archive.segment import FileFacts, Segment
from envbuilder.errors import AssembleError


def expect_shared(listings: Mapping[str, frozenset[str]], order: Sequence[str], name: str) -> frozenset[str]:
    """Return the paths of *name* that an earlier artifact in *order* also has, according to *listings*.

    This only saves work; :class:`SharedPaths` handles artifacts that are listed later.
    """
    own = listings[name]
    earlier = order[: order.index(name)]
    return frozenset().union(*(own & listings[other] for other in earlier if other in listings))


class TwoOwnersError(AssembleError):
    """Two artifacts have different bytes for one path: *first* and *second* differ."""

    def __init__(self, path: str, first: str, second: str) -> None:
        names = [one.partition("-")[0].replace("_", "-").lower() for one in (first, second)]
        super().__init__(
            f"{path} is in {first} and, with different content, in {second}",
            hint=f"keep one of the two: remove {' or '.join(names)} from `dependencies`; if other packages require it, "
            f"`exclude-dependencies: [{names[0]}]` locks without it",
        )
        self.path = path
        self.second = second


class SharedPaths:
    """Ensures that each path occurs once in an archive. Segments must be added in the archive's order."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[FileFacts, str]] = {}

    def settle(self, segment: Segment) -> frozenset[str] | None:
        """Return None if *segment* has no path of an earlier one, else the paths it must omit.

        Raises:
            AssembleError: two artifacts have different content or modes for a path; the message names both.
        """
        shared = set()
        # Sources before their bytecode, so that an error names the source.
        files = sorted((*segment.files, *segment.omitted), key=lambda file: "/__pycache__/" in file.path)
        for file in files:
            owner, label = self._owners.setdefault(file.path, (file, segment.label))
            if label == segment.label:
                continue
            if (owner.sha256, owner.mode, owner.link) != (file.sha256, file.mode, file.link):
                raise TwoOwnersError(file.path, label, segment.label)
            shared.add(file.path)
        if shared == {file.path for file in segment.omitted}:
            return None
        # The assembler omits bytecode together with its source.
        return frozenset(path for path in shared if "/__pycache__/" not in path)
