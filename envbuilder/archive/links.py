"""Path resolution in a tree of files, folders and symbolic links, as Linux does it.

As in path_resolution(7): component by component from the current folder; a link is replaced by its target; ``..`` is
the parent of the folder actually reached, not of the name that led there. Only the tree is consulted, never this
machine's file system.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final, Literal

MAX_LINKS: Final = 40
"""Links in one resolution (``MAXSYMLINKS`` of ``include/linux/namei.h``); more give ELOOP."""
MAX_NAME: Final = 255
"""Bytes of a component (``NAME_MAX``)."""
MAX_PATH: Final = 4095
"""Bytes of a path, or of a link's target (``PATH_MAX`` counts a NUL)."""
MAX_STEPS: Final = 20_000_000
"""Components resolved in total for one tree: a hostile archive may have many links of a thousand components each."""

Kind = Literal["folder", "file", "link"]
End = Literal["folder", "file", "link", "missing", "outside", "loop", "through-file", "too-long"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """The result of resolving a path."""

    end: End
    """What is found, or why resolution fails: ENOENT, ELOOP, ENOTDIR, ENAMETOOLONG; or it leaves the tree."""
    path: str
    """The real path of what is found, or of the component at which resolution fails."""
    escapes: bool = False
    """Whether it leaves the tree, or would if the failing component were an empty folder."""
    links: int = 0
    """How many links were followed."""


class Tree:
    """Files, folders and links by their real paths, which are relative and contain no ``.`` or ``..``.

    The root has the empty path.
    """

    def __init__(self, *, most_steps: int = MAX_STEPS) -> None:
        self._kinds: dict[str, Kind] = {"": "folder"}
        self._targets: dict[str, str] = {}
        self._steps_left = most_steps

    def kind(self, path: str) -> Kind | None:
        """Return the kind of entry at the real path *path*."""
        return self._kinds.get(path)

    def target(self, path: str) -> str | None:
        """Return the target of the link at the real path *path*."""
        return self._targets.get(path)

    def add_folder(self, path: str) -> None:
        """Add a folder, and the folders that it is in."""
        while path and path not in self._kinds:
            self._kinds[path] = "folder"
            path = path.rpartition("/")[0]

    def add_file(self, path: str) -> None:
        """Add a file, and the folders that it is in."""
        self.add_folder(path.rpartition("/")[0])
        self._kinds[path] = "file"

    def add_link(self, path: str, target: str) -> None:
        """Add a link, and the folders that it is in."""
        self.add_folder(path.rpartition("/")[0])
        self._kinds[path] = "link"
        self._targets[path] = target

    def remove(self, path: str) -> None:
        """Remove the file or link at the real path *path*."""
        del self._kinds[path]
        self._targets.pop(path, None)

    def resolve(self, path: str, *, start: str = "", follow: bool = True) -> Resolved:
        """Resolve *path* from the folder *start*, a real path; *follow* says whether to follow a final link."""
        return _Walk(self, start).run(path, follow=follow)

    def resolve_link(self, path: str) -> Resolved:
        """Resolve the link at the real path *path*."""
        folder, _, name = path.rpartition("/")
        return self.resolve(name, start=folder)

    def spend_step(self) -> bool:
        """Count a resolved component; return whether the limit allows more."""
        self._steps_left -= 1
        return self._steps_left >= 0


class _Walk:
    """One resolution in progress."""

    def __init__(self, tree: Tree, start: str) -> None:
        self._tree = tree
        self._here = start
        self._rest: list[str] = []
        """Components still to be walked, the next one last."""
        self._links = 0
        self._stopped: Resolved | None = None
        """Where the kernel stops. The walk continues, to find out whether it would leave the tree."""
        self._below = 0
        """Number of components below the point where it stopped."""

    def run(self, path: str, *, follow: bool) -> Resolved:
        if not self._enter(path):
            self._stop("too-long", self._here)
        while self._rest:
            part = self._rest.pop()
            if not self._tree.spend_step():
                return Resolved(end="too-long", path=self._here, escapes=True, links=self._links)
            if part == ".":
                continue
            if part == "..":
                if not self._up():
                    return self._out()
            elif self._below:
                self._below += 1
            elif not self._down(part, follow or bool(self._rest)):
                return self._out()
        end = self._tree.kind(self._here)
        assert end is not None  # it would have been stopped before
        return self._stopped or Resolved(end=end, path=self._here, links=self._links)

    def _enter(self, path: str) -> bool:
        """Push the components of *path* before the remaining ones, unless the path would be too long."""
        if len(os.fsencode(path)) > MAX_PATH:
            return False
        parts = [part for part in path.split("/") if part]
        if path.endswith("/"):
            parts.append(".")  # a trailing slash requires a folder, as /. does
        self._rest += reversed(parts)
        return True

    def _up(self) -> bool:
        """Go to the parent; return whether that is in the tree."""
        if self._below:
            self._below -= 1
        elif self._here:
            self._here = self._here.rpartition("/")[0]
        else:
            return False
        return True

    def _down(self, part: str, follow: bool) -> bool:
        """Go to *part* of the folder reached; return whether that is in the tree."""
        place = f"{self._here}/{part}" if self._here else part
        kind = self._tree.kind(place)
        if len(os.fsencode(part)) > MAX_NAME:
            self._stop("too-long", place)
        elif kind is None:
            self._stop("missing", place)
        elif kind == "file" and self._rest:
            self._stop("through-file", place)
        elif kind == "link" and follow:
            return self._follow(place)
        else:
            self._here = place
        return True

    def _follow(self, link: str) -> bool:
        target = self._tree.target(link) or ""
        if self._links == MAX_LINKS:
            self._stop("loop", link)
            return True
        self._links += 1
        if target.startswith("/"):
            return False
        if not self._enter(target):
            self._stop("too-long", link)
        return True

    def _stop(self, end: End, place: str) -> None:
        self._below = 1
        if self._stopped is None:
            self._stopped = Resolved(end=end, path=place, links=self._links)

    def _out(self) -> Resolved:
        if self._stopped is not None:
            return replace(self._stopped, escapes=True)
        return Resolved(end="outside", path=self._here, escapes=True, links=self._links)
