"""Launch a program in an extracted environment as a release does, without the release.

``triton-contract``: the stub's launcher (``stub_launcher.cc``) either sources ``bin/activate`` in bash and puts
``ENV/lib`` before the loader's path, or (25.08 and later) sets variables and never runs the script. The interpreter
in the stub is embedded: isolated, no UTF-8 mode, locale ``C``.
"""

from __future__ import annotations

import functools
import os
import re
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.catalog.triton import Launch
from envbuilder.util.process import Completed, run, tethered

SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""``PATH`` of whatever runs here: nothing of the user's own."""
_SYSTEM: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "proc", "sys", "dev")
"""Folders of the machine that a program in the new root can see. /usr/local is emptied: interpreters live there
too."""
_HOME: Final = "tmp/home"
"""The home of whatever runs here, empty at first: container runtimes always set HOME, and packages read it."""
_HIDE: Final = """
set -e
for path in $HIDDEN; do
    if [ -d "$path" ]; then mount -t tmpfs -o size=1m none "$root$path"; else mount --bind /dev/null "$root$path"; fi
done
unset SYSTEM HIDDEN root
exec "$@"
"""
_ENTER: Final = """
set -e
for name in $SYSTEM; do
    if [ -d "$root/$name" ] && [ ! -L "$root/$name" ]; then mount --rbind "/$name" "$root/$name"; fi
done
if [ -d "$root/usr/local" ]; then mount -t tmpfs -o size=1m none "$root/usr/local"; fi
if [ -n "$READONLY" ]; then
    mount --bind "$root$READONLY" "$root$READONLY"
    mount -o remount,bind,ro "$root$READONLY"
fi
unset READONLY
"""
_COMPILERS: Final = re.compile(
    r"([\w.-]+-)?(gcc|g\+\+|cpp|cc|c\+\+|c89|c99|clang|clang\+\+|as|ld|gold|lld|tcc|icpx?|nvc|nvc\+\+)(-[\w.-]+|\.\w+)?"
)
_COMPILER_FOLDERS: Final = ("/usr/lib/gcc", "/usr/libexec/gcc", "/usr/include", "/usr/lib/llvm-*")


@functools.cache
def host_compilers() -> tuple[str, ...]:
    """List the files of this machine's compilers: programs, and folders with their parts and headers.

    Links are omitted, as their targets are listed.
    """
    programs = [path for path in Path("/usr/bin").glob("*") if _COMPILERS.fullmatch(path.name)]
    folders = [path for pattern in _COMPILER_FOLDERS for path in Path("/").glob(pattern[1:]) if path.is_dir()]
    return tuple(sorted(str(path) for path in (*programs, *folders) if not path.is_symlink()))


@functools.cache
def mount_namespace() -> tuple[str, ...] | None:
    """Return the command that starts a mount namespace, or None if this user may not."""
    tool = shutil.which("unshare")
    if tool is None:
        return None
    command: tuple[str, ...] = (tool, "--mount", "--propagation", "private")
    if os.geteuid() != 0:
        command = (tool, "--user", "--map-root-user", *command[1:])
    script = "mount -t tmpfs none /mnt && test -x /usr/sbin/chroot"
    done = run([*command, "/bin/sh", "-c", script], env={"PATH": SEARCH_PATH}, check=False)
    return command if done.returncode == 0 else None


def hiding(hidden: Sequence[str]) -> list[str]:
    """Return a command prefix that runs a program without access to the files and folders *hidden*.

    The prefix process becomes that program. It is empty if this user may not create mount namespaces.
    """
    namespace = mount_namespace()
    if not hidden or namespace is None:
        return []
    return [*namespace, "/usr/bin/env", f"HIDDEN={' '.join(hidden)}", "/bin/sh", "-c", _HIDE, "sh"]


def can_isolate() -> bool:
    """Whether this user may create a mount namespace."""
    return mount_namespace() is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A folder that acts as a server's root: an environment, a repository, and the probe's files."""

    root: Path
    environment: Path
    """The folder into which the archive is extracted, with a random name as in Triton."""
    isolated: bool
    """Whether a program in it sees only *root* and the base system."""
    readonly: bool = False
    """Whether *environment* is read-only for a program in it, like a mounted image."""

    @classmethod
    def make(cls, root: Path, *, isolate: bool = True, readonly: bool = False) -> Sandbox:
        """Create the folder *root* and its subfolders; *readonly* applies if it is isolated."""
        root.mkdir()
        for name in _SYSTEM:
            system = Path("/") / name
            if system.is_symlink():
                (root / name).symlink_to(os.readlink(system))
            elif system.is_dir():
                (root / name).mkdir()
        environment = root / "tmp" / f"python_env_{secrets.token_hex(3)}" / "0"
        for folder in (environment, root / _HOME, root / "verify", root / "models"):
            folder.mkdir(parents=True)
        isolated = isolate and mount_namespace() is not None
        return cls(root=root, environment=environment, isolated=isolated, readonly=readonly and isolated)

    def seen(self, path: Path) -> str:
        """Return *path* as a program in this sandbox sees it."""
        return f"/{path.relative_to(self.root)}" if self.isolated else str(path)

    def run_python(
        self,
        launch: Launch,
        args: Sequence[str],
        *,
        variables: Mapping[str, str] | None = None,
        hidden: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Completed:
        """Run the environment's Python on *args* as *launch* runs a stub; *timeout* in seconds.

        If isolated, it cannot see the files and folders *hidden*. It ends with this process, even if that is
        killed.

        Raises:
            CommandError: it ran out of time.
        """
        environment = self.seen(self.environment)
        python = [f"{environment}/bin/python3", "-I", "-X", "utf8=0", *args]
        home = self.seen(self.root / _HOME)
        env = {"PATH": SEARCH_PATH, "LC_ALL": "C", "HOME": home, **(variables or {})}
        command, env = self.inside(*launched(launch, environment, python, env), hidden=hidden)
        # A model may leave programs running; they are ended once the model has answered.
        return run(command, env=env, timeout=timeout, check=False, cwd=Path("/"), until_exit=True)

    def inside(
        self, command: Sequence[str], env: Mapping[str, str], *, hidden: Sequence[str] = ()
    ) -> tuple[list[str], dict[str, str]]:
        """Return the command and the variables that run *command*, with *env*, in this sandbox.

        If isolated, it cannot see the files and folders *hidden*. It ends with this process.
        """
        if not self.isolated:
            return tethered(command), dict(env)
        namespace = mount_namespace()
        assert namespace is not None  # or this sandbox would not be isolated
        # Tethered inside: making a user namespace would untie it again (prctl(2), PR_SET_PDEATHSIG).
        command = tethered(["chroot", str(self.root), *command])
        own = {"SYSTEM": " ".join(_SYSTEM), "HIDDEN": " ".join(hidden), "root": str(self.root)}
        own["READONLY"] = self.seen(self.environment) if self.readonly else ""
        return [*namespace, "/bin/sh", "-c", _ENTER + _HIDE, "sh", *command], {
            "PATH": SEARCH_PATH,
            **env,
            **own,
        }


def launched(
    launch: Launch, environment: str, program: Sequence[str], server: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """Return the command and the variables with which a server with the variables *server* starts *program*."""
    library = f"{environment}/lib"
    if launch == "sourced":
        script = (
            f"source {shlex.quote(f'{environment}/bin/activate')} && "
            f'exec env LD_LIBRARY_PATH={shlex.quote(library)}:"$LD_LIBRARY_PATH" {shlex.join(program)}'
        )
        return ["/bin/bash", "-c", script], dict(server)
    path = ":".join([library, library, *filter(None, [server.get("LD_LIBRARY_PATH")])])
    variables = {
        **{name: value for name, value in server.items() if name != "PYTHONHOME"},
        "VIRTUAL_ENV": environment,
        "VIRTUAL_ENV_PROMPT": f"({environment.rpartition('/')[2]})",
        "PATH": f"{environment}/bin:{server.get('PATH', '')}",
        "LD_LIBRARY_PATH": path,
    }
    return list(program), variables
