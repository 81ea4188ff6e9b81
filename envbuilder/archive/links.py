"""Where a path leads in a tree of files, folders and symbolic links: resolved as Linux resolves it.

As in path_resolution(7): component by component from the folder reached so far, a link's target in the link's place,
``..`` the parent of the folder that was really reached and not of the name that led there. Only what the tree holds is
looked at; nothing of this machine.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Final, Literal

MAX_LINKS: Final = 40
"""Links in one resolution (``MAXSYMLINKS`` of ``include/linux/namei.h``): one more is ELOOP."""
MAX_NAME: Final = 255
"""Bytes of a component (``NAME_MAX``)."""
MAX_PATH: Final = 4095
"""Bytes of a path, or of a link's target (``PATH_MAX`` counts a NUL)."""
MAX_STEPS: Final = 20_000_000
"""Components that one tree walks in all: a hostile archive has any number of links of a thousand components each."""

Kind = Literal["folder", "file", "link"]
End = Literal["folder", "file", "link", "missing", "outside", "loop", "through-file", "too-long"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """Where a path leads."""

    end: End
    """What is there, or why the kernel does not get there: ENOENT, ELOOP, ENOTDIR, ENAMETOOLONG; or out of the tree."""
    path: str
    """The real path of what is there; otherwise of the component that stops the kernel."""
    escapes: bool = False
    """Whether it leads out of the tree, or would if what stops the kernel were an empty folder."""
    links: int = 0
    """How many links were followed."""


class Tree:
    """Files, folders and links by their real paths, which are relative and have no ``.`` or ``..`` in them.

    The folder that everything is in has the empty path.
    """

    def __init__(self, *, most_steps: int = MAX_STEPS) -> None:
        self._kinds: dict[str, Kind] = {"": "folder"}
        self._targets: dict[str, str] = {}
        self._steps_left = most_steps

    def kind(self, path: str) -> Kind | None:
        """Return what is at the real path *path*."""
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

    def resolve(self, path: str, *, start: str = "", follow: bool = True) -> Resolved:
        """Say where *path* leads from the folder *start*, a real path; with *follow* also where it ends in a link."""
        return _Walk(self, start).run(path, follow=follow)

    def resolve_link(self, path: str) -> Resolved:
        """Say where the link at the real path *path* leads."""
        folder, _, name = path.rpartition("/")
        return self.resolve(name, start=folder)

    def spend_step(self) -> bool:
        """Count a component that is walked; return whether there may be more."""
        self._steps_left -= 1
        return self._steps_left >= 0


class _Walk:
    """One resolution under way."""

    def __init__(self, tree: Tree, start: str) -> None:
        self._tree = tree
        self._here = start
        self._rest: list[str] = []
        """Components still to be walked, the next one last."""
        self._links = 0
        self._stopped: Resolved | None = None
        """Where the kernel goes no further. The walk goes on, to see whether it would lead out."""
        self._below = 0
        """How many components it is below what stopped it."""

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
        """Put the components of *path* before those still to be walked, unless no path may be so long."""
        if len(os.fsencode(path)) > MAX_PATH:
            return False
        parts = [part for part in path.split("/") if part]
        if path.endswith("/"):
            parts.append(".")  # a slash at the end asks for a folder, as /. does
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
