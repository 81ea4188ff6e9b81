"""Keep the inodes of files that servers extracted in use while starts are measured.

ext4 reuses an inode only minutes after it was freed, and skips all of those one by one when it creates a file
(``recently_deleted`` in the kernel's fs/ext4/ialloc.c). A server removes the files of its environment when it
stops: the next one on the same disk would extract two to three times as slowly as one on a new machine.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from envbuilder.util.tempdirs import draft_folder
from envbuilder.verification.server.cleanup import EXTRACTIONS


class KeptInodes:
    """Hard links to extracted files, in a folder on the same disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._full: list[Path] = []
        self._number = 0

    def keep(self, folders: Iterable[Path]) -> None:
        """Link every file under *folders*."""
        for folder in folders:
            for root, _, names in os.walk(folder):
                for name in names:
                    self._number += 1
                    link = self._folder / str(self._number)
                    with contextlib.suppress(OSError):  # gone by now, or a file system without such links
                        os.link(os.path.join(root, name), link, follow_symlinks=False)
                        self._full.append(link)

    def empty(self) -> None:
        """Free the space of files that have no other link; their inodes stay in use."""
        for link in self._full:
            found = link.lstat()
            if found.st_nlink == 1 and found.st_size and not link.is_symlink():
                os.truncate(link, 0)
        self._full.clear()


@contextlib.contextmanager
def kept_inodes(place: Path = EXTRACTIONS) -> Iterator[KeptInodes]:
    """Keep inodes in use on the disk of *place*, where servers extract environments, until the block is left."""
    with draft_folder(place, "inodes") as folder:
        yield KeptInodes(folder)
