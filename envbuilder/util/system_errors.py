"""Errors of the operating system: a message, and a hint that fixes the cause."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import Final

_CURES: Final[Mapping[int, str]] = {
    errno.ENOSPC: "free some space there, or set {setting} to a folder on a larger disk",
    errno.EDQUOT: "your disk quota is exhausted: free some space, or set {setting} to a folder elsewhere",
    errno.EFBIG: "the file is too large for that disk or for `ulimit -f`: set {setting} to a folder elsewhere",
    errno.EROFS: "that file system is mounted read-only: set {setting} to a folder on another one",
    errno.EACCES: "give this user permission, or set {setting} to a folder of this user",
    errno.EPERM: "give this user permission, or set {setting} to a folder of this user",
    errno.EMFILE: "this process has too many open files: raise `ulimit -n`",
    errno.ENFILE: "this machine has too many open files: raise fs.file-max",
    errno.ENOMEM: "this machine is out of memory: stop other programs, or use a machine with more memory",
    errno.EIO: "the disk or the network file system failed: see `dmesg`",
    errno.ENODEV: "the device is gone: check that it is still mounted",
    errno.ENXIO: "the device is gone: check that it is still mounted",
    errno.ESTALE: "the network file system lost the file handle: run it again",
    errno.ETIMEDOUT: "the network file system does not respond: check its server",
    errno.EHOSTDOWN: "the network file system does not respond: check its server",
    errno.ENAMETOOLONG: "the path is too long: set {setting} to a folder with a shorter one",
    errno.ENOENT: "it was removed, perhaps by another process: run it again",
    errno.EBUSY: "another program is using it: run it again when that has ended",
    errno.ETXTBSY: "another program is using it: run it again when that has ended",
    errno.ELOOP: "a symlink there points to itself: remove it",
    errno.ENOTDIR: "expected a folder, found a file: remove it, or set {setting} to another folder",
    errno.EISDIR: "expected a file, found a folder: remove it, or set {setting} to another folder",
    errno.EINVAL: "that file system does not support this: set {setting} to a folder on another one",
    errno.EOPNOTSUPP: "that file system does not support this: set {setting} to a folder on another one",
    errno.EILSEQ: "that file system does not allow such a name: set {setting} to a folder on another one",
}


def describe_os_error(error: OSError) -> str:
    """Return the system's message for an error, with the file's name."""
    text = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {text}" if isinstance(error.filename, str | bytes) else text


def cure(error: OSError, *, setting: str) -> str | None:
    """Return a hint for an error of the system, or None if there is none.

    *setting* is the variable or the option that names the folder.
    """
    text = _CURES.get(error.errno or 0)
    return None if text is None else text.format(setting=setting)
