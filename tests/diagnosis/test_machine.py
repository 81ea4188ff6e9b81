"""What this machine has: fake programs stand on PATH, indexes on the loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.diagnosis import machine
from envbuilder.diagnosis.machine import (
    Compiler,
    Disk,
    Gpu,
    check_routes,
    find_compilers,
    find_gpus,
    free_space,
)
from tests.helpers.index_server import Index, Trouble


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as index:
        yield index


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def put(programs: Path, name: str, script: str) -> Path:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def environ(programs: Path, **more: str) -> dict[str, str]:
    return {"PATH": str(programs), **more}


COMPILES = 'case "$1" in --version) echo "fine 1.2"; echo more;; *) test "$2" = -fopenmp;; esac'
LACKS_OPENMP = (
    'case "$1" in --version) echo "slim 3";; *) echo; echo "omp.h: No such file" >&2; exit 1;; esac'
)


def test_compilers_are_tried(programs: Path) -> None:
    gcc = put(programs, "g++", COMPILES)
    clang = put(programs, "clang++", LACKS_OPENMP)
    assert find_compilers(environ(programs)) == (
        Compiler(path=gcc, version="fine 1.2", problem=None),
        Compiler(path=clang, version="slim 3", problem="omp.h: No such file"),
    )


def test_the_compiler_that_cxx_names_comes_first(programs: Path) -> None:
    put(programs, "g++", COMPILES)
    own = put(programs, "own++", "exit 3")
    found = find_compilers(environ(programs, CXX="own++"))
    assert [compiler.path.name for compiler in found] == ["own++", "g++"]
    assert found[0].version == "unknown"
    assert found[0].problem == f"`{own} --version` exited with 3"
    assert [compiler.path.name for compiler in find_compilers(environ(programs, CXX="g++"))] == ["g++"]


def test_no_compiler_is_found_where_there_is_none(programs: Path) -> None:
    assert find_compilers(environ(programs, CXX="nothing++")) == ()


def test_this_machines_compiler_really_compiles() -> None:
    usable = [compiler for compiler in find_compilers() if compiler.problem is None]
    assert usable, "the tests of torch.compile need a C++ compiler with OpenMP"


def test_gpus_are_those_that_nvidia_smi_lists(programs: Path) -> None:
    put(
        programs,
        "nvidia-smi",
        "echo 'NVIDIA H100 80GB HBM3, 550.54.15, 81559'\necho 'Tesla T4, 550.54.15, 15360'",
    )
    assert find_gpus(environ(programs)) == (
        Gpu(name="NVIDIA H100 80GB HBM3", driver="550.54.15", memory=81559),
        Gpu(name="Tesla T4", driver="550.54.15", memory=15360),
    )


@pytest.mark.parametrize("script", ["echo 'No devices were found'", "exit 9", "echo 'a, b, [N/A]'"])
def test_a_driver_without_a_gpu_is_none(programs: Path, script: str) -> None:
    put(programs, "nvidia-smi", script)
    assert find_gpus(environ(programs)) == ()


def test_no_nvidia_smi_means_no_gpu(programs: Path) -> None:
    assert find_gpus(environ(programs)) == ()


@pytest.mark.parametrize(
    ("driver", "cuda", "floor"),
    [
        ("520.61.05", "11.8", None),
        ("470.82.01", "11.8", "520.61"),
        ("525.60.13", "12.6", None),
        ("525.53", "12.6", "525.60"),
        ("550.54.15", "13.0", "580.65"),
        ("580.65.06", "13.0", None),
        ("550.54.15", "14.1", None),
    ],
)
def test_each_cuda_has_a_least_driver(driver: str, cuda: str, floor: str | None) -> None:
    assert Gpu(name="T4", driver=driver, memory=1).too_old_for(cuda) == floor


def test_free_space_is_that_of_the_folder_to_be(tmp_path: Path) -> None:
    found = free_space("store", tmp_path / "not" / "yet")
    assert found == Disk(use="store", folder=tmp_path / "not" / "yet", free=found.free)
    status = os.statvfs(tmp_path)
    assert abs(found.free - status.f_bavail * status.f_frsize) < 2**30
    assert not (tmp_path / "not").exists()


def test_every_source_is_asked(index: Index, tmp_path: Path) -> None:
    house = tmp_path / "house"
    house.mkdir()
    (house / "a-1-py3-none-any.whl").touch()
    (house / "readme").touch()
    index.pages["/links/"] = []
    (tmp_path / "simple").mkdir()
    settings = Settings(
        find_links=(str(house), str(tmp_path / "gone"), f"{index.base}/links/"),
        index_url=index.url.replace("://", "://me:secret@"),
        extra_index_urls=((tmp_path / "simple").as_uri(), (tmp_path / "none").as_uri()),
        pytorch_index=f"{index.base}/whl",
    )
    index.troubles["/whl/cpu/torch/"] = [Trouble(status=500)]
    routes = check_routes(settings, ["cpu", "cu126"])
    assert [(route.kind, route.place, route.answers, route.variant) for route in routes] == [
        ("wheelhouse", str(house), True, ""),
        ("wheelhouse", str(tmp_path / "gone"), False, ""),
        ("wheelhouse", f"{index.base}/links/", True, ""),
        ("package index", index.url.replace("://", "://***@"), True, ""),
        ("package index", (tmp_path / "simple").as_uri(), True, ""),
        ("package index", (tmp_path / "none").as_uri(), False, ""),
        ("PyTorch's index", f"{index.base}/whl/cpu", False, "cpu"),
        ("PyTorch's index", f"{index.base}/whl/cu126", True, "cu126"),
    ]
    details = [route.detail for route in routes]
    assert details[:3] == ["1 wheel", "No such file or directory", "0 wheels"]
    assert details[3].endswith(" ms")
    assert details[5:7] == ["no such folder", "answered 500 Internal Server Error"]
    assert routes[0].filenames == ("a-1-py3-none-any.whl", "readme")


def test_an_index_that_wants_credentials_does_not_answer(index: Index) -> None:
    index.credentials = "me:secret"
    [route] = check_routes(Settings(index_url=index.url), [])
    assert (route.answers, route.detail) == (False, "answered 401: it wants other credentials")


def test_a_source_that_says_nothing_is_given_up_soon(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "ROUTE_SECONDS", 0.1)
    index.troubles["/simple/pip/"] = [Trouble(hang=True)]
    [route] = check_routes(Settings(index_url=index.url), [])
    assert (route.answers, route.detail) == (False, "no answer in time")


def test_no_index_is_asked_where_none_may_be() -> None:
    assert check_routes(Settings(no_index=True), ["cpu"]) == ()


def test_a_store_elsewhere_is_a_source(tmp_path: Path) -> None:
    settings = Settings(no_index=True, store=f"file://{tmp_path}/elsewhere")
    (route,) = check_routes(settings, [])
    assert (route.kind, route.place, route.answers) == ("remote store", settings.store, True)
    assert route.detail.endswith(" ms, holds nothing yet")
    (tmp_path / "elsewhere" / "artifacts").mkdir(parents=True)
    (route,) = check_routes(settings, [])
    assert route.detail.endswith(" ms")
    (route,) = check_routes(Settings(no_index=True, store="s4://bucket"), [])
    assert (route.answers, route.detail) == (
        False,
        "the store s4://bucket cannot be used: Protocol not known: s4",
    )
