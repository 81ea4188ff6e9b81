"""Files that several conda packages install to one path: what py-rattler moved aside, links it replaced by folders.

Sysroots have links to folders (``lib -> lib64``), and other packages have files that go through them. py-rattler, which
links packages side by side, makes a folder of such a link, or takes link and files for clobbers of each other and puts
both into ``__clobbers__``. Here each file comes to where its package says, by its real path.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envbuilder.base.conda_package import PackageContent
from envbuilder.errors import AssembleError
from envbuilder.lockfile.model import CondaPackage
from envbuilder.progress import Reporter

_ASIDE: Final = "__clobbers__"


def put_back(contents: Mapping[CondaPackage, PackageContent], prefix: Path, reporter: Reporter) -> None:
    """Move what was set aside to its place under *prefix*; no path leads through a symlinked folder afterwards.

    Where two packages have different files for one path, the one that py-rattler chose stays, and a note says so.

    Raises:
        AssembleError: a symlink leads out of the prefix, or two different files get the same path through symlinks.
    """
    aside = prefix / _ASIDE
    links = dict(link for content in contents.values() for link in content.links)
    waiting = sorted(_paths_under(aside), key=lambda path: (path.count("/"), path))
    for path in (one for one in waiting if (aside / one).is_symlink()):
        place = prefix / path.partition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(place):  # else it is a folder, and becomes the link below
            place.symlink_to(os.readlink(aside / path))
    _restore_links(links, prefix)
    for path in (one for one in waiting if not (aside / one).is_symlink()):
        package, _, own = path.partition("/")
        place = prefix / own
        if place.is_file():
            if place.read_bytes() != (aside / path).read_bytes():
                reporter.note(f"{own}: two packages contain this path; the file of {package} is not used")
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        (aside / path).replace(place)
    shutil.rmtree(aside, ignore_errors=True)


def own_path(path: str) -> str:
    """Return a record's original *path*."""
    return path.split("/", 2)[2] if path.startswith(f"{_ASIDE}/") else path


def _paths_under(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        for name in (*names, *(one for one in folders if Path(root, one).is_symlink())):
            yield posixpath.relpath(Path(root, name).as_posix(), folder.as_posix())


def _restore_links(links: Mapping[str, str], prefix: Path) -> None:
    """Restore links that became folders; move what went into such a folder to where the link points."""
    for path, target in sorted(links.items(), key=lambda link: (-link[0].count("/"), link)):
        place = prefix / path
        if place.is_symlink() or not place.is_dir():
            continue
        end = place.parent / target
        if not end.resolve().is_relative_to(prefix.resolve()):
            raise AssembleError(f"the link {path} points to {target}, outside the environment")
        _move(place, end, prefix)
        place.symlink_to(target)


def _move(source: Path, target: Path, prefix: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for child in sorted(source.iterdir()):
        end = target / child.name
        if child.is_dir() and not child.is_symlink():
            _move(child, end, prefix)
        elif end.exists() and end.read_bytes() != child.read_bytes():
            raise AssembleError(
                f"two conda packages have different files for {end.resolve().relative_to(prefix.resolve())}",
                hint="remove one of them",
            )
        else:
            child.replace(end)
    source.rmdir()
