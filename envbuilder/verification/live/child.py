"""Evaluate the probe's child process: the environment's Python, started as torch starts its compile workers."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from typing import Any, Final

from envbuilder.verification.report import Status

RUNPATH: Final = "its own RUNPATH ($ORIGIN/../lib) must lead to its libpython: torch starts it as a worker"
_LIBRARY: Final = re.compile(r"(?P<soname>lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
_OTHER_PYTHON: Final = re.compile(r"undefined symbol: _?Py|libpython")
"""What a program writes that found no libpython, or the system's, which lacks symbols of the environment's."""
_MODULE: Final = re.compile(r"No module named '(?P<module>[\w.]+)'")
_ELSEWHERE: Final = {
    int(signal.SIGKILL): ("the system ended it, perhaps for lack of memory", "verify it with more memory"),
    int(signal.SIGILL): (
        "this processor lacks an instruction that it uses",
        "verify it on the processor that serves",
    ),
}
"""Signals whose cause is the machine and not the environment, each with the cause and what to do."""


def judge_child(found: Mapping[str, Any], prefix: str) -> tuple[Status, str, str | None]:
    """Evaluate a child that should print *prefix*, its ``sys.prefix``.

    *found* has ``executable``, ``output``, and as ``returncode`` a number, ``timeout`` or ``not started``.

    Returns:
        The status, what was found, and what to change.
    """
    program, code, output = found["executable"], found["returncode"], found["output"]
    if code == "0" and output == prefix:
        return "passed", f"{program} starts without ENV/lib on the loader's path", None
    started = f"{program} started as a child"
    if code == "0":
        text = f"{started} has the prefix {output or '(none)'}, and not {prefix}"
        return "failed", text, "take pyvenv.cfg, or what else leads it there, out of the environment"
    if code == "timeout":
        return "unknown", f"{started} did not end in time: {output}", "verify it on a less busy machine"
    if code == "not started":
        return (
            "failed",
            f"{program} cannot be started: {output}",
            "bin/python3 must be a program for this processor",
        )
    if code.startswith("-"):
        number = int(code)
        what, fix = _ELSEWHERE.get(-number, ("", ""))
        if what:
            return "unknown", f"{started} was killed by signal {-number}: {what}", fix
        text = f"{started} was killed by signal {-number}: {output}"
        return "failed", text, "lock and build with another CPython: this one, or a library of it, crashes"
    text = f"{started} exited with {code}: {output}"
    return "failed", text, _fix(output)


def _fix(output: str) -> str:
    library, module = _LIBRARY.search(output), _MODULE.search(output)
    if library is not None and not library["soname"].startswith("libpython"):
        soname = library["soname"]
        return (
            f"the environment's Python needs {soname}: lock and build with a CPython that brings it, or list it in the "
            "recipe's `system-libraries` if each machine that serves has it"
        )
    if module is not None:
        return (
            f"the environment's standard library has no {module['module']}: lock and build with a CPython that has it, "
            "and keep it in `pack: {exclude: …}`"
        )
    if library is not None or _OTHER_PYTHON.search(output):
        return RUNPATH
    return "fix what the text names"
