"""Each error of the system is told with its file, and with a hint that follows its cause."""

from __future__ import annotations

import errno
import os

import pytest

from envbuilder.util.system_errors import cure, describe_os_error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/b"), "/a/b: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device", b"/a/\xff"), "/a/\udcff: No space left on device"),
        (OSError(errno.EIO, "Input/output error", 3), "Input/output error"),
        (OSError("what a library says"), "what a library says"),
        (OSError(), "OSError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_is_told_with_its_file(error: OSError, said: str) -> None:
    assert describe_os_error(error) == said


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "TMPDIR"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOMEM, "memory"),
        (errno.ELOOP, "symlink"),
        (errno.ENAMETOOLONG, "too long"),
    ],
)
def test_a_hint_follows_the_cause(number: int, words: str) -> None:
    hint = cure(OSError(number, os.strerror(number)), setting="TMPDIR")
    assert hint is not None
    assert words in hint
    assert "{" not in hint
    assert "larger disk" not in hint or number == errno.ENOSPC


@pytest.mark.parametrize("error", [OSError(), OSError(errno.EPIPE, "Broken pipe"), OSError("x")])
def test_what_nobody_can_cure_has_no_hint(error: OSError) -> None:
    assert cure(error, setting="TMPDIR") is None
