"""Every check of this project, in the environment that runs this file; arguments go to pytest.

`python3 envbuilder/bootstrap.py --test` sets that environment up first.
"""

from __future__ import annotations

import os
import shutil
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
    # Hostile input is tried on a command line in children of their own, whose lines are not counted here.
    "--cov-fail-under",
    "90",
]


# What the tests run besides Python's packages: program, and Debian's package that has it.
PROGRAMS = {
    "g++": "g++",
    "bsdtar": "libarchive-tools",
    "qemu-x86_64": "qemu-user",
    # Each shell reads its completion script.
    "zsh": "zsh",
    "fish": "fish",
    # Peers of images: registry, copies, unpacking, mounting.
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "buildah": "buildah",
    "mkfs.erofs": "erofs-utils",
    # Reports are looked at in a browser, by axe-core.
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "npm": "npm",
}


def install_programs() -> str | None:
    """Install the programs that are missing, where this is Debian and we are root; else say what to install."""
    missing = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if not missing:
        return None
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return f"the tests need the system packages {', '.join(missing)} (Debian's names): install them first"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        print("$ apt-get", *command, flush=True)
        if subprocess.call(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL):
            return f"apt-get could not install {', '.join(missing)}"
    return None


def workers() -> str:
    """Return how many processes run tests: one for each core, at least 2, at most 4, as each takes some GiB."""
    return str(min(max(len(os.sched_getaffinity(0)), 2), 4))


def main(arguments: list[str]) -> int:
    """Run the checks one after the other until one fails; return its exit code."""
    problem = install_programs()
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    python = [sys.executable, "-m"]
    for command in (
        [*python, "ruff", "check"],
        [*python, "ruff", "format", "--check"],
        [*python, "mypy"],
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        [*python, "pytest", *(arguments or ["-n", workers(), "--dist", "loadgroup", *COVERAGE])],
    ):
        print("$", *command, flush=True)
        if code := subprocess.call(command, cwd=ROOT, env=environment):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
