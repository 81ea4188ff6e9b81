"""Turn an error in a check into a failed check, so that the other checks continue."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from envbuilder.catalog.triton import Release
from envbuilder.errors import EnvbuilderError
from envbuilder.util.printable import printable_line
from envbuilder.util.system_errors import cure, describe_os_error
from envbuilder.verification.report import Check, failed

_SETTING: Final = "ENVBUILDER_CACHE"
_BUG: Final = "this is a bug of envbuilder: please report it, with the archive if possible"
_LONGEST: Final = 500
"""Longest cause in a message, in characters."""

UNFINISHED: Final = "verification.completed"
"""The check that fails if a verification ends early."""

Made = Check | Iterable[Check] | None


def guarded(id: str, make: Callable[[], Made], release: Release | None = None) -> Iterator[Check]:
    """Yield the checks of *make*; an error becomes a failed check, with *id* if it has none yet."""
    try:
        made = make()
        yield from () if made is None else (made,) if isinstance(made, Check) else made
    except Exception as error:  # a foreign archive may cause any error
        yield failed(id, f"cannot be checked: {cause(error)}", fix(error), release)


def ended(error: BaseException) -> Check:
    """Return the check that reports why a verification ended early."""
    if isinstance(error, Exception):
        return failed(UNFINISHED, f"it could not continue: {cause(error)}", fix(error))
    # SystemExit has the exit code of a signal, 128 + its number; other exceptions may have the number itself.
    code = getattr(error, "code", None)
    number = getattr(error, "number", code - 128 if isinstance(code, int) else signal.SIGINT)
    name = signal.Signals(number).name if number in list(signal.Signals) else type(error).__name__
    return failed(UNFINISHED, f"it was stopped by {name}", "verify the archive again")


def cause(error: BaseException) -> str:
    """Describe an error in one line, an unexpected one with its location."""
    if isinstance(error, EnvbuilderError):
        text = error.message
    elif isinstance(error, OSError):
        text = describe_os_error(error)
    else:
        frame = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f" ({Path(one.filename).name}, line {one.lineno})" for one in frame)
        text = f"{type(error).__name__}: {str(error)[:_LONGEST]}{where}"
    return printable_line(text[: 2 * _LONGEST])


def fix(error: BaseException) -> str:
    """Return what to do about an error."""
    if isinstance(error, EnvbuilderError):
        return error.hint or "see the text above"
    if isinstance(error, MemoryError):
        return "verify it on a machine with more memory"
    known = cure(error, setting=_SETTING) if isinstance(error, OSError) else None
    return known or _BUG
