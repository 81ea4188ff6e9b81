"""A real tritonserver: find one, start it on loopback, stop it without leaving anything behind.

The one on the package index is in the wheel of ``nvidia-pytriton`` 0.7.0, which reports Triton 2.51.0, release
24.10. Its files are used; it is never installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.archive.elf import read_elf
from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.errors import VerifyError
from envbuilder.lockfile.model import Artifact
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.tempdirs import locked_folder
from envbuilder.verification.live.machine import stamp
from envbuilder.verification.server.process import PortTakenError, RunningServer, ServerProcess, port_of
from envbuilder.verification.server.servers import StartOptions

__all__ = ["SERVER_WHEEL", "RunningServer", "StartOptions", "TritonServer", "find_server"]

SERVER_WHEEL: Final = Artifact(
    name="nvidia-pytriton",
    version="0.7.0",
    filename="nvidia_pytriton-0.7.0-py3-none-manylinux_2_35_x86_64.whl",
    sha256="21f063ff93bb426d0c06b7a55e7eb9efcfe62c0dddd9a908e9877e18710128df",
    size=55369373,
)
_WHEEL_VERSION: Final = "2.51.0"
_STUB: Final = "triton_python_backend_stub"
_PORT_TRIES: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TritonServer:
    """A tritonserver on this machine."""

    binary: Path
    backends: Path
    """The folder that holds ``python/``."""
    stubs: Mapping[str, Path]
    """Its stubs by minor version of Python."""
    libraries: tuple[Path, ...] = ()
    """Folders its loader needs."""
    release: str | None = None
    """The release, if known: ``pytriton-0.7.0``."""

    @property
    def pythons(self) -> tuple[str, ...]:
        """The minor versions of Python that it can serve."""
        return tuple(self.stubs)

    def describe(self) -> str:
        """Describe this server for messages."""
        if self.release == PYTRITON:
            return f"{PYTRITON} (Triton {_WHEEL_VERSION}, release 24.10)"
        return str(self.binary)

    def identity(self) -> str:
        """Return a sha256 of the paths and times of its files.

        Raises:
            OSError: a file is missing.
        """
        folders = (self.backends, *self.libraries)
        files = [self.binary, *self.stubs.values()]
        files += [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        text = "\n".join([self.describe(), *map(stamp, files)])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    @contextlib.contextmanager
    def start(
        self,
        repository: Path | str,
        *,
        python: str,
        log: Path,
        options: StartOptions = StartOptions(),
    ) -> Iterator[RunningServer]:
        """Serve *repository*, a folder or an address, on loopback with the stub for *python*, until the block is left.

        A folder beside *log* is used meanwhile.

        Raises:
            VerifyError: there is no stub for *python*, a given port is taken, or the server exits or does not
            become ready.
        """
        if python not in self.stubs:
            has = ", ".join(sorted(self.stubs, key=_minor)) or "none"
            raise VerifyError(
                f"{self.describe()} has no stub for Python {python}; it has {has}",
                hint="name a server of the archive's release with --tritonserver",
            )
        for name, port in options.ports():
            if port is not None and not _is_free(port):
                raise VerifyError(
                    f"{name} port {port} of 127.0.0.1 is taken",
                    hint="omit the port to have a free one chosen",
                )
        log.parent.mkdir(parents=True, exist_ok=True)
        with locked_folder(log.parent, "server") as scratch:
            view = self._view(scratch, python, options.backends)
            for attempt in range(1, _PORT_TRIES + 1):
                process = ServerProcess(
                    title=self.describe(),
                    log=log,
                    unload=options.unload,
                    http=f"127.0.0.1:{options.http_port or _free_port()}",
                    grpc=f"127.0.0.1:{options.grpc_port or _free_port()}",
                    metrics=_metrics_address(options),
                )
                at = repository.resolve() if isinstance(repository, Path) else repository
                args = self._arguments(process, at, view, options)
                with process.running([*options.within, *args], self._environment(options.env)):
                    try:
                        ready = process.wait(options.ready_timeout, options.pause, options.cancelled)
                    except PortTakenError as taken:
                        if attempt == _PORT_TRIES:
                            hint = "another process takes free ports as fast as they are found"
                            raise VerifyError(str(taken), hint=hint) from None
                        continue
                    yield ready
                    return

    def _view(self, scratch: Path, python: str, backends: Path | None) -> Path:
        """Make a folder of backends in which ``python/`` has only the required stub."""
        view = scratch / "backends"
        (view / "python").mkdir(parents=True)
        for folder in (self.backends, backends):
            for backend in sorted(folder.iterdir()) if folder is not None else ():
                if backend.name != "python" and backend.is_dir():
                    (view / backend.name).symlink_to(backend.resolve())
        for file in (self.backends / "python").iterdir():
            if file.name == "libtriton_python.so":
                # Through a link it would be outside the folder, and a Python-based backend that names it is refused.
                shutil.copy(file, view / "python")
            elif file.name != _STUB:
                (view / "python" / file.name).symlink_to(file.resolve())
        (view / "python" / _STUB).symlink_to(self.stubs[python].resolve())
        return view

    def _arguments(
        self,
        process: ServerProcess,
        repository: Path | str,
        view: Path,
        options: StartOptions,
    ) -> list[str]:
        metrics = ["--allow-metrics=false"]
        if process.metrics is not None:
            port = port_of(process.metrics)
            metrics = ["--allow-metrics=true", "--metrics-address=127.0.0.1", f"--metrics-port={port}"]
        return [
            str(self.binary),
            f"--id={process.name}",
            f"--model-repository={repository}",
            f"--backend-directory={view}",
            "--http-address=127.0.0.1",
            f"--http-port={port_of(process.http)}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={port_of(process.grpc)}",
            *metrics,
            f"--backend-config=python,shm-region-prefix-name={process.name}",
            *options.extra_args,
        ]

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the server's environment: a stub inherits it, so nothing of this process's Python is in it."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in {"HOME", "TMPDIR"} or name.startswith(("CUDA_", "NVIDIA_"))
        }
        paths = [str(path) for path in self.libraries]
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            **kept,
            **({"LD_LIBRARY_PATH": ":".join(paths)} if paths else {}),
            **env,
        }


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _metrics_address(options: StartOptions) -> str | None:
    if options.metrics_port is None and not options.metrics:
        return None
    return f"127.0.0.1:{options.metrics_port or _free_port()}"


def _minor(python: str) -> tuple[int, ...]:
    return tuple(int(part) for part in python.split("."))


# -- finding one -----------------------------------------------------------------------------------


class TritonServers:
    """A tritonserver of this machine, or the one in the package index's wheel."""

    def find(self, program: Path | None, session: Session, *, fetch: bool) -> TritonServer:
        """Return a tritonserver, see :func:`find_server`."""
        return find_server(program, session, fetch=fetch)


def find_server(path: Path | None, session: Session, *, fetch: bool = True) -> TritonServer:
    """Return the server at *path*, else the one on ``PATH``, else the one in the ``nvidia-pytriton`` wheel.

    The wheel is fetched once (with *fetch*), known by its sha256, and unpacked into the store.

    Raises:
        VerifyError: there is no server at *path*, or (without *fetch*) none is available.
        FetchError: the wheel could not be downloaded.
    """
    if path is not None:
        return _installed_server(path)
    on_path = shutil.which("tritonserver")
    if on_path is not None:
        return _installed_server(Path(on_path))
    store = session.store
    root = store.find("tools", _tool_key())
    if root is None:
        wheel = store.find_artifact(SERVER_WHEEL.sha256, SERVER_WHEEL.size)
        if wheel is None:
            if not fetch:
                raise VerifyError(
                    "no tritonserver on PATH or in the store",
                    hint="name one with --tritonserver PATH, or fetch one from the package index with --server",
                )
            from envbuilder.fetch import artifacts  # not needed if a server is available

            session.reporter.step(f"Fetching the server, {SERVER_WHEEL.filename}")
            ((_, wheel),) = artifacts.fetch([SERVER_WHEEL], "pypi", session)
        root = _unpack(wheel, store)
    return _wheel_server(root)


def _tool_key() -> str:
    return f"tritonserver-{SERVER_WHEEL.sha256[:32]}"


def _unpack(wheel: Path, store: Store) -> Path:
    """Unpack the server in *wheel* into the store, whole or not at all."""
    target = store.entry_path("tools", _tool_key())
    target.parent.mkdir(parents=True, exist_ok=True)
    with store.scratch("tritonserver") as folder, zipfile.ZipFile(wheel) as archive:
        draft = folder / "server"
        for member in archive.infolist():
            if member.filename.startswith(("pytriton/tritonserver/", "nvidia_pytriton.libs/")):
                file = Path(archive.extract(member, draft))
                if not member.is_dir() and (file.name in {"tritonserver", _STUB} or ".so" in file.name):
                    file.chmod(0o755)  # the wheel lost the run bits
        try:
            draft.rename(target)
        except OSError:
            if not target.is_dir():  # else another process unpacked the same bytes meanwhile
                raise
    return target


def _wheel_server(root: Path) -> TritonServer:
    home = root / "pytriton" / "tritonserver"
    usable = find_release(PYTRITON).pythons
    return TritonServer(
        binary=home / "bin" / "tritonserver",
        backends=home / "backends",
        stubs={python: home / "python_backend_stubs" / python / _STUB for python in usable},
        libraries=(root / "nvidia_pytriton.libs",),
        release=PYTRITON,
    )


def _installed_server(path: Path) -> TritonServer:
    """Describe the server at *path*: the program, or the folder that holds ``bin/tritonserver``."""
    binary = path / "bin" / "tritonserver" if path.is_dir() else path
    if not os.access(binary, os.X_OK) or not binary.is_file():
        raise VerifyError(
            f"{path} is not an executable tritonserver",
            hint="set --tritonserver to the program, or to the folder that contains bin/tritonserver",
        )
    home = binary.resolve().parent.parent
    backends = home / "backends"
    if not (backends / "python").is_dir():
        raise VerifyError(
            f"{binary}: no Python backend in {backends}",
            hint="use a server that has the Python backend",
        )
    return TritonServer(
        binary=binary.resolve(),
        backends=backends,
        stubs=_stubs(backends / "python"),
        libraries=(home / "lib",) if (home / "lib").is_dir() else (),
    )


def _stubs(folder: Path) -> dict[str, Path]:
    stub = folder / _STUB
    if not stub.is_file():
        return {}
    with stub.open("rb") as file:
        facts = read_elf(file)
    for need in facts.needs if facts is not None else ():
        match = re.fullmatch(r"libpython(3\.\d+)\.so\.1\.0", need)
        if match:
            return {match[1]: stub}
    return {}
