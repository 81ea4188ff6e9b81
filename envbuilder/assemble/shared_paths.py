"""Paths that several artifacts have: the first of them, in the archive's order, contributes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from envbuilder.archive.segment import FileFacts, Segment
from envbuilder.errors import AssembleError


def expect_shared(listings: Mapping[str, frozenset[str]], order: Sequence[str], name: str) -> frozenset[str]:
    """Return the paths of *name* that one earlier in *order* has as well, as far as *listings* know.

    Only to save work: what is listed later is settled by :class:`SharedPaths`.
    """
    own = listings[name]
    earlier = order[: order.index(name)]
    return frozenset().union(*(own & listings[other] for other in earlier if other in listings))


class TwoOwnersError(AssembleError):
    """Two artifacts have different bytes for one path: what stands in *first* is elsewise in *second*."""

    def __init__(self, path: str, first: str, second: str) -> None:
        super().__init__(
            f"{path} is in {first} and, different, in {second}",
            hint="one environment cannot hold both: drop one, or leave the path out with pack: {exclude: …}",
        )
        self.path = path
        self.second = second


class SharedPaths:
    """Sees to it that no path stands twice in an archive. Segments are shown to it in the archive's order."""

    def __init__(self) -> None:
        self._owners: dict[str, tuple[FileFacts, str]] = {}

    def settle(self, segment: Segment) -> frozenset[str] | None:
        """Return None where *segment* contributes just what no earlier one does, else what it must leave out.

        Raises:
            AssembleError: two artifacts have different bytes, or another mode, for one path; it names both.
        """
        shared = set()
        # Sources before their bytecode: an error names what a person knows.
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
        # Bytecode is left out with its source, by whoever assembles it.
        return frozenset(path for path in shared if "/__pycache__/" not in path)
