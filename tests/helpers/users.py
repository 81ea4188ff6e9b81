"""Do something as another user than root, whom permission bits stop."""

from __future__ import annotations

import ctypes
import os
import pickle
import struct
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_CLONE_NEWUSER = 0x10000000
_CAPABILITY_VERSION_3 = 0x20080522
_SOMEBODY = 12345
"""A user that no database of this machine knows."""


def as_somebody(action: Callable[[], _T], *, env: Mapping[str, str] | None = None) -> _T:
    """Return what *action* returns in a child that is nobody in particular: no root, no entry in passwd.

    The child has a user namespace of its own. It owns what the user of the tests owns, and no more may it do than an
    owner may. With *env* it has those variables alone.

    Raises:
        Exception: what *action* raised, as it is.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as file:
                pickle.dump(_answer(action, env), file)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    assert data, "the child died"
    error, found = pickle.loads(data)
    if error is not None:
        raise error
    result: _T = found
    return result


def _answer(
    action: Callable[[], _T], env: Mapping[str, str] | None
) -> tuple[BaseException | None, _T | None]:
    try:
        become_somebody()
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        return None, action()
    except BaseException as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an error that needs more than its arguments
            return AssertionError("".join(traceback.format_exception(error))), None
        return error, None


def become_somebody() -> None:
    """Make this process, which has one thread, one of nobody in particular, as :func:`as_somebody` says."""
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_SOMEBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_SOMEBODY} {group} 1")
    # Who makes a user namespace has all capabilities in it, until it gives them away.
    header, none = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), struct.pack("6I", *[0] * 6)
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")
