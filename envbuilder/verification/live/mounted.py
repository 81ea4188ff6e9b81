"""Test an environment's folder as a cluster mounts it: read-only, and used by a user who does not own it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from envbuilder.util.process import CommandError, run
from envbuilder.verification.report import Check, failed, omitted, passed, some

MOUNT: Final = "image.mount"
READABLE: Final = "image.readable"
_NOBODY: Final = "65534"
_SECONDS: Final = 300.0
_MODULES: Final = "import ctypes, json, socket, ssl, torch; print(torch.ones(3).sum().item())"
_SCRIPT: Final = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/environment /mnt/scratch
mount --bind "$TREE" /mnt/environment
mount -o remount,bind,ro /mnt/environment
if touch /mnt/environment/written 2>/dev/null; then echo "it can be written"; exit 9; fi
chmod 1777 /mnt/scratch
export HOME=/mnt/scratch TMPDIR=/mnt/scratch LC_ALL=C
unset TREE
cd /
exec "$@"
"""


def check_readable(tree: Path) -> Check:
    """Check that every user can read everything in *tree*."""
    closed = sorted(_closed(tree))
    if closed:
        return failed(
            READABLE,
            f"not readable by all users: {some(closed)}",
            "push an image that `envbuilder image` writes",
        )
    return passed(READABLE, "every file and folder is readable by all users")


def _closed(tree: Path) -> Iterator[str]:
    for place, folders, files in os.walk(tree):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
            if not stat.S_ISLNK(mode) and mode & needed != needed:
                yield os.path.relpath(path, tree)


def check_mounted(tree: Path) -> Check:
    """Mount *tree* read-only and load torch from it, as another user if this one may switch."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return omitted(MOUNT, "unshare (util-linux) is not installed")
    root = os.geteuid() == 0
    namespace = [unshare, "--mount", "--propagation", "private"]
    if not root:
        namespace[1:1] = ["--user", "--map-root-user"]
    other = root and shutil.which("setpriv") is not None
    become = ["setpriv", "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups"] if other else []
    python = ["/mnt/environment/bin/python3", "-I", "-c", _MODULES]
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TREE": str(tree)}
    if run([*namespace, "/bin/sh", "-c", "mount -t tmpfs none /mnt"], env=env, check=False).returncode:
        return omitted(MOUNT, "this user may not mount file systems")
    try:
        done = run(
            [*namespace, "/bin/sh", "-c", _SCRIPT, "sh", *become, *python],
            env=env,
            timeout=_SECONDS,
            check=False,
            cwd=Path("/"),
        )
    except CommandError as error:
        return failed(
            MOUNT, f"torch did not load from a read-only mount: {error}", "find out what it waits for"
        )
    who = f"as user {_NOBODY}" if other else "as this user"
    if done.returncode or done.stdout.strip() != "3.0":
        last = " ".join((done.stdout + done.stderr).strip().splitlines()[-3:])[:500]
        return failed(MOUNT, f"torch does not load from a read-only mount {who}: {last}", "see live.readonly")
    return passed(MOUNT, f"torch loads from a read-only mount {who}")
