"""From a fresh clone to a running command, with nothing but this Python's standard library.

    python3 envbuilder/bootstrap.py quickstart     any command of `envbuilder`, in its own environment
    python3 envbuilder/bootstrap.py --test         the checks and tests, with what they need

The environment is ``.venv`` in the checkout: made once, and again when pyproject.toml or Python is another.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTORCH_CPU = "https://download.pytorch.org/whl/cpu"


def main(arguments: list[str]) -> int:
    """Install what *arguments* need and run them; return the exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036 - this file is for whatever Python a machine has
        return fail(
            f"envbuilder needs Python 3.10 or later; this is {sys.version.split()[0]} ({sys.executable})"
        )
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    test = arguments[0] == "--test"
    try:
        prepare(test=test)
    except subprocess.CalledProcessError as error:
        return fail(f"`{' '.join(error.cmd)}` failed with {error.returncode}: see its lines above")
    if test:
        return subprocess.call([str(python()), "tests/run.py", *arguments[1:]], cwd=ROOT)
    return subprocess.call([str(VENV / "bin" / "envbuilder"), *arguments])


def prepare(*, test: bool) -> None:
    """Create the environment, unless it is there and complete."""
    stamp = VENV / ".envbuilder-stamp"
    project = (ROOT / "pyproject.toml").read_bytes()
    wanted = f"{sys.version.split()[0]} {sys.executable} {hashlib.sha256(project).hexdigest()}"
    done = stamp.read_text().splitlines() if stamp.is_file() else []
    if done[:1] != [wanted]:
        done = [wanted]
        stamp.unlink(missing_ok=True)
        if importlib.util.find_spec("ensurepip") is None:
            sys.exit(
                fail("this Python has no ensurepip: install your system's python3-venv, then run this again")
            )
        say("making a virtual environment in .venv")
        call([sys.executable, "-m", "venv", "--clear", str(VENV)])
        say("installing envbuilder into it")
        pip("install", "--editable", str(ROOT))
    if test and "test" not in done:
        say("installing what the tests need (torch, pytest, mypy, ruff, …)")
        install_torch(project.decode())
        pip("install", "--editable", f"{ROOT}[test]")
        done.append("test")
    stamp.write_text("\n".join([*dict.fromkeys(done)]) + "\n")


def install_torch(project: str) -> None:
    """Install the tests' torch as a CPU build: the package index's own brings gigabytes of CUDA libraries."""
    found = re.search(r'"(torch==[^"]+)"', project)
    requirement = found[1] if found else "torch"
    here = [*PIP, "install", "--no-deps", "--no-index", requirement]
    if subprocess.call(here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
        return  # pip is configured with a wheelhouse that holds one
    index = os.environ.get("ENVBUILDER_PYTORCH_INDEX", "").rstrip("/")
    pip("install", "--index-url", f"{index}/cpu" if index else PYTORCH_CPU, requirement)


def python() -> Path:
    """The environment's interpreter."""
    return VENV / "bin" / "python"


PIP = [str(python()), "-m", "pip", "--disable-pip-version-check", "--quiet"]


def pip(*arguments: str) -> None:
    """Run pip in the environment, with the configuration that pip has on this machine."""
    call([*PIP, *arguments])


def call(command: list[str]) -> None:
    """Run *command*; raise if it fails."""
    subprocess.run(command, check=True)


def say(text: str) -> None:
    """Print progress to standard error; results go to standard output."""
    print(f"• {text}", file=sys.stderr, flush=True)


def fail(text: str) -> int:
    """Print an error; return the exit code."""
    print(f"error: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
