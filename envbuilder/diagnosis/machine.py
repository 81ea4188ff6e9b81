"""Examine this machine: compilers, GPUs, disk space, and reachable sources."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit

import httpx2
from unearth.fetchers import PyPIClient

from envbuilder.catalog.cuda import DRIVER_FLOORS
from envbuilder.config.channels import Channel
from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError, StoreError
from envbuilder.fetch.http import Unavailable, check_status, open_client, read_page, reason
from envbuilder.fetch.stream import open_stream
from envbuilder.resolve.wheelhouse import local_path
from envbuilder.util.files import free_bytes
from envbuilder.util.process import CommandError, run
from envbuilder.util.tempdirs import temporary_folder
from envbuilder.util.text import counted
from envbuilder.util.urls import redacted

ROUTE_SECONDS = 5.0
"""Timeout for a source, in seconds."""
_SOURCE = """#include <omp.h>
#include <vector>
extern "C" int threads() { std::vector<int> v(3); return omp_get_max_threads() + (int)v.size(); }
"""
WHEELHOUSE = "wheelhouse"
PACKAGE_INDEX = "package index"
PYTORCH_INDEX = "PyTorch's index"
STORE = "remote store"
CONDA_CHANNEL = "conda channel"
_PROJECTS = {PACKAGE_INDEX: "pip", PYTORCH_INDEX: "torch"}
"""A project that exists on each kind of index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiler:
    """A C++ compiler that torch.compile would use, perhaps only if set as ``CXX``."""

    path: Path
    version: str
    """The first line of its version."""
    problem: str | None
    """Why Inductor cannot use it; None: it compiled a shared library with OpenMP."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """An NVIDIA GPU."""

    name: str
    driver: str
    memory: int
    """Memory in MiB."""

    def too_old_for(self, cuda: str) -> str | None:
        """Return the minimum driver for *cuda* (``12.6``) if this one is older, else None."""
        floor = DRIVER_FLOORS.get(int(cuda.partition(".")[0]))
        if floor is None or _version(self.driver) >= floor:
            return None
        return ".".join(map(str, floor))


@dataclass(frozen=True, kw_only=True, slots=True)
class Disk:
    """The free space of a folder's file system."""

    use: str
    """``store``, or ``archives``."""
    folder: Path
    free: int
    """Bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One source, and whether it is reachable."""

    kind: str
    """``remote store``, ``wheelhouse``, ``package index`` or ``PyTorch's index``."""
    place: str
    """Its path or address, without credentials."""
    answers: bool
    detail: str
    """The response time, or the error."""
    variant: str = ""
    """For PyTorch's index: the CUDA variant."""
    filenames: tuple[str, ...] = ()
    """For a wheelhouse: its files."""


def find_compilers(environ: Mapping[str, str] = os.environ) -> tuple[Compiler, ...]:
    """Test the compilers of *environ*: ``CXX`` first, as Inductor does, then ``g++`` and ``clang++``."""
    search = environ.get("PATH", os.defpath)
    names = [environ.get("CXX", ""), "g++", "clang++"]
    paths = [shutil.which(name, path=search) for name in names if name]
    return tuple(_try_compiler(Path(path), environ) for path in dict.fromkeys(paths) if path)


def _try_compiler(path: Path, environ: Mapping[str, str]) -> Compiler:
    version = "unknown"
    try:
        lines = run([str(path), "--version"], env=environ, timeout=20).stdout.splitlines()
        version = lines[0].strip() if lines else version
        with temporary_folder("doctor") as folder:
            source = folder / "probe.cpp"
            source.write_text(_SOURCE)
            # As Inductor does: OpenMP, position independent, a shared library.
            flags = ["-std=c++17", "-fopenmp", "-fPIC", "-shared", str(source), "-o", f"{folder}/probe.so"]
            run([str(path), *flags], env=environ, timeout=60)
    except CommandError as error:
        said = [line for line in error.output.splitlines() if line.strip()]
        return Compiler(path=path, version=version, problem=said[0].strip() if said else error.message)
    return Compiler(path=path, version=version, problem=None)


def find_gpus(environ: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """Query ``nvidia-smi``; if it is missing or fails, there is no usable GPU."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH", os.defpath))
    if program is None:
        return ()
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
    try:
        lines = run(query, env=environ, timeout=30).stdout.splitlines()
    except CommandError:
        return ()
    fields = [[part.strip() for part in line.split(",")] for line in lines]
    return tuple(
        Gpu(name=row[0], driver=row[1], memory=int(row[2]))
        for row in fields
        if len(row) == 3 and row[2].isdigit()
    )


def free_space(use: str, folder: Path) -> Disk:
    """Return the free space on the file system of *folder*, which need not exist."""
    return Disk(use=use, folder=folder, free=free_bytes(folder))


def check_routes(
    settings: Settings, variants: Iterable[str], channels: Iterable[Channel] = ()
) -> tuple[Route, ...]:
    """Request a page of every source of *settings* in parallel; of PyTorch's index for each of *variants*.

    For *channels* the repodata is requested, and the variant is the channel's name.

    Raises:
        RecipeError: the certificates of *settings* are invalid.
    """
    asked = [(STORE, settings.store, "")] if settings.store is not None else []
    asked += [(WHEELHOUSE, link, "") for link in settings.find_links]
    if not settings.no_index:
        asked += [(PACKAGE_INDEX, url, "") for url in (settings.index_url, *settings.extra_index_urls)]
        asked += [(PYTORCH_INDEX, f"{settings.pytorch_index}/{variant}", variant) for variant in variants]
    asked += [(CONDA_CHANNEL, url, channel.name) for channel in channels for url in channel.urls]
    with open_client(settings, timeout=ROUTE_SECONDS) as client, ThreadPoolExecutor(len(asked) or 1) as pool:
        return tuple(pool.map(lambda source: _ask(client, *source), asked))


def _ask(client: PyPIClient, kind: str, location: str, variant: str) -> Route:
    began = monotonic()
    names: tuple[str, ...] = ()
    place = redacted(location) if "://" in location else location
    try:
        if kind == STORE:
            detail = _look_into_store(location)
        elif kind == WHEELHOUSE:
            names = _wheelhouse_names(client, location)
            detail = counted(sum(name.endswith(".whl") for name in names), "wheel")
        else:
            if kind == CONDA_CHANNEL:
                _find_repodata(client, location)
            else:
                _reach(client, f"{location}/{_PROJECTS[kind]}/")
            detail = f"{(monotonic() - began) * 1000:.0f} ms"
    except Unavailable as error:
        return Route(kind=kind, place=place, answers=False, detail=str(error), variant=variant)
    return Route(kind=kind, place=place, answers=True, detail=detail, variant=variant, filenames=names)


def _look_into_store(url: str) -> str:
    from envbuilder.store.objects import RemoteObjects

    began = monotonic()
    try:
        kinds = RemoteObjects(url, timeout=ROUTE_SECONDS).folders()
    except (StoreError, RecipeError) as error:
        raise Unavailable(
            error.message if error.hint is None else f"{error.message} ({error.hint})"
        ) from error
    return f"{(monotonic() - began) * 1000:.0f} ms" + ("" if kinds else ", holds nothing yet")


def _wheelhouse_names(client: PyPIClient, location: str) -> tuple[str, ...]:
    path = local_path(location)
    if path is None or path.suffix in (".html", ".htm"):
        return tuple(link.filename for link in read_page(client, location if path is None else path.as_uri()))
    try:
        return tuple(sorted(os.listdir(path))) if path.is_dir() else (path.resolve(strict=True).name,)
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from error


def _reach(client: PyPIClient, page: str) -> None:
    """Request a page without reading it; a missing one counts as an answer, too."""
    if urlsplit(page).scheme == "file":
        folder = local_path(page.rpartition("/")[0].rpartition("/")[0])
        if folder is None or not folder.is_dir():
            raise Unavailable("no such folder")
        return
    try:
        with open_stream(client, page, {}) as stream:
            if stream.response.status_code not in (404, 410):
                check_status(stream.response)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise reason(error) from error


def _find_repodata(client: PyPIClient, channel: str) -> None:
    """Request the repodata of *channel*, which every channel has, without reading it."""
    page = f"{channel}/noarch/repodata.json"
    path = local_path(page)
    if path is not None:
        if not path.is_file():
            raise Unavailable("no channel: it has no noarch/repodata.json")
        return
    try:
        with open_stream(client, page, {}) as stream:
            check_status(stream.response)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise reason(error) from error


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
