"""Every check of this project, in the environment that runs this file; arguments go to pytest.

`python3 envbuilder/bootstrap.py --test` sets that environment up first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COVERAGE = [
    "--cov",
    "envbuilder",
    "--cov",
    "runtime",
    "--cov-report",
    "term:skip-covered",
    "--cov-fail-under",
    "90",
]


def main(arguments: list[str]) -> int:
    """Run the checks one after the other until one fails; return its exit code."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    for command in (
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["mypy"],
        ["pytest", *(arguments or ["-n", "2", *COVERAGE])],
    ):
        print("$", *command, flush=True)
        if code := subprocess.call([sys.executable, "-m", *command], cwd=ROOT, env=environment):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
