"""What the system's refusals mean for a person: what was refused, and what cures that."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

_CURES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "free some space there, or let {setting} name a folder on a larger disk",
    errno.EDQUOT: "your quota there is used up: free some of it, or let {setting} name a folder elsewhere",
    errno.EFBIG: "no file may be that large there: look at `ulimit -f`, or let {setting} name a folder elsewhere",
    errno.EROFS: "that file system is mounted read-only: let {setting} name a folder on another one",
    errno.EACCES: "give this user the right to it, or let {setting} name a folder of this user's",
    errno.EPERM: "give this user the right to it, or let {setting} name a folder of this user's",
    errno.EMFILE: "this process has too many files open: raise `ulimit -n`",
    errno.ENFILE: "this machine has too many files open: raise fs.file-max",
    errno.ENOMEM: "this machine has no memory left: end something, or run it where there is more",
    errno.EIO: "the disk or the network file system fails: `dmesg` says more",
    errno.ENODEV: "the device is gone: is it still mounted?",
    errno.ENXIO: "the device is gone: is it still mounted?",
    errno.ESTALE: "the network file system lost track of it: run it again",
    errno.ETIMEDOUT: "the network file system does not answer: is its server up?",
    errno.EHOSTDOWN: "the network file system does not answer: is its server up?",
    errno.ENAMETOOLONG: "the path is too long: let {setting} name a folder with a shorter one",
    errno.ENOENT: "it is gone, perhaps removed by another process: run it again",
    errno.EBUSY: "another program holds it: run it again when that has ended",
    errno.ETXTBSY: "another program holds it: run it again when that has ended",
    errno.ELOOP: "a link there leads to itself: remove it",
    errno.ENOTDIR: "a file lies where a folder should be: remove it, or let {setting} name another folder",
    errno.EISDIR: "a folder lies where a file should be: remove it, or let {setting} name another folder",
    errno.EINVAL: "that file system cannot do this: let {setting} name a folder on another one",
    errno.EOPNOTSUPP: "that file system cannot do this: let {setting} name a folder on another one",
    errno.EILSEQ: "that file system takes no such name: let {setting} name a folder on another one",
}


def refusal(error: OSError) -> str:
    """Say what the system refused, and of which file."""
    text = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {text}" if isinstance(error.filename, str | bytes) else text


def cure(error: OSError, *, setting: str) -> str | None:
    """Return what to do where the system refuses so, or None where that is not known.

    *setting* is the variable or the option that names the folder.
    """
    text = _CURES.get(error.errno or 0)
    return None if text is None else text.format(setting=setting)
