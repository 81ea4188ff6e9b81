from __future__ import annotations

import errno
import signal
from collections.abc import Iterator

import pytest

from envbuilder.errors import VerifyError
from envbuilder.verification.failures import UNFINISHED, cause, ended, fix, guarded
from envbuilder.verification.report import Check, passed


def broken() -> Iterator[Check]:
    yield passed("one", "good")
    raise VerifyError("bad\nindeed", hint="mend it")


def test_what_was_checked_before_an_error_counts() -> None:
    first, second = guarded("two", broken)
    assert (first.id, first.status) == ("one", "passed")
    assert (second.id, second.status) == ("two", "failed")
    assert (second.found, second.fix) == ("cannot be checked: bad\\nindeed", "mend it")


def test_one_check_or_none() -> None:
    assert list(guarded("x", lambda: None)) == []
    assert [one.id for one in guarded("x", lambda: passed("y", "good"))] == ["y"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SystemExit(128 + signal.SIGTERM), "it was stopped by SIGTERM"),
        (KeyboardInterrupt(), "it was stopped by SIGINT"),
        (VerifyError("no disk"), "it could not continue: no disk"),
    ],
)
def test_why_a_verification_did_not_end(error: BaseException, said: str) -> None:
    found = ended(error)
    assert (found.id, found.status, found.found) == (UNFINISHED, "failed", said)


def test_an_unforeseen_error_says_where_it_came_from() -> None:
    with pytest.raises(ValueError, match="x") as caught:
        raise ValueError("x" * 1000)
    assert cause(caught.value).startswith(f"ValueError: {'x' * 500} (test_failures.py, line ")
    assert "this is a bug of envbuilder" in fix(caught.value)


def test_what_to_do() -> None:
    assert "more memory" in fix(MemoryError())
    assert fix(VerifyError("x")) == "see the text above"
    assert "ENVBUILDER_CACHE" in fix(OSError(errno.ENOSPC, "No space left on device", "/tmp/x"))
