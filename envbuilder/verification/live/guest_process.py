"""Start :mod:`envbuilder.guest` in a packed environment, give it a job, and read its answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuilder import guest
from envbuilder.catalog.triton import Launch
from envbuilder.util.documents import DocumentError, Record, load_json
from envbuilder.util.process import CommandError, Completed
from envbuilder.verification.live.launch import Sandbox

PACKAGE: Final = "_envbuilder_guest"
"""Its package name in an environment, which no module of a model has."""
_LAST_LINES: Final = 12
_WHERE: Final = {True: "the probe's answer", False: "what the model answered in its environment"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The outcome of a job of the guest."""

    answer: Record | None
    """None: it ended without one. Code of the archive may have written it, so it is not trusted."""
    file: Path
    """The path of the answer, if there is one."""
    how: str
    """How the process ended, with its last lines."""


def guest_files() -> dict[str, Path]:
    """Return the guest's files by their paths in its package."""
    folder = Path(guest.__file__).parent
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}


def run_guest(
    sandbox: Sandbox,
    launch: Launch,
    name: str,
    job: Mapping[str, Any],
    *,
    variables: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
    timeout: float,
) -> Ended:
    """Run a *job* (see ``guest/job.py``) in the environment in *place*, started as *launch* starts a stub.

    Args:
        place: the sandbox that contains the files of the job.
        launch: how a release starts a stub.
        name: prefix of the job's files in the sandbox's folder ``verify``.
        job: the job, without ``answer``.
        variables: environment variables of the process.
        hidden: files of this machine that it must not see.
        timeout: seconds.
    """
    folder = sandbox.root / "verify"
    _add(folder / PACKAGE)
    answer, path = folder / f"{name}.answer", folder / f"{name}.json"
    answer.unlink(missing_ok=True)  # that of an earlier run
    path.write_text(json.dumps({**job, "answer": sandbox.seen(answer)}))
    args = ["-B", sandbox.seen(folder / PACKAGE / "__main__.py"), sandbox.seen(path)]
    try:
        done = sandbox.run_python(launch, args, variables=variables, hidden=hidden, timeout=timeout)
        how = f"it {_ending(done)}:\n{_last(done.stdout + done.stderr)}"
    except CommandError as error:
        how = f"it did not end within {timeout:g} s:\n{_last(error.output)}"
    try:
        found = load_json(answer, where=_WHERE[job["task"] == "probe"], allow_nan=True)
        return Ended(answer=found, file=answer, how=how)
    except FileNotFoundError:
        return Ended(answer=None, file=answer, how=how)
    except (DocumentError, OSError) as error:
        return Ended(answer=None, file=answer, how=f"{error}; {how}")


def _add(folder: Path) -> None:
    for name, file in guest_files().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _ending(done: Completed) -> str:
    return (
        f"was killed by signal {-done.returncode}"
        if done.returncode < 0
        else f"exited with {done.returncode}"
    )


def _last(text: str) -> str:
    lines = text.strip().splitlines()[-_LAST_LINES:]
    return "\n".join(f"  | {line[:500]}" for line in lines) or "  | (nothing)"
