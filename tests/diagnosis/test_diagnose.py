"""What this machine can lock, build and verify: each thing taken away once, on a machine made of stand-ins."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.base.interpreter import Interpreter
from envbuilder.config.settings import Settings
from envbuilder.diagnosis import diagnose, machine, requirements
from envbuilder.diagnosis.diagnose import Diagnosis
from envbuilder.diagnosis.machine import Disk
from envbuilder.diagnosis.requirements import Ability
from envbuilder.errors import ResolveError
from envbuilder.lockfile.model import Artifact, Lock, LockedInterpreter
from envbuilder.lockfile.pylock import lock_path, write_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import Recipe
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.extras import installing
from envbuilder.verification.server.tritonserver import SERVER_WHEEL
from tests.helpers.index_server import Index, Trouble

LOCKED = LockedInterpreter(version="3.12.1", origin="host", digest="1" * 64)
TORCH = Artifact(
    name="torch",
    version="2.7.1+cu126",
    filename="torch-2.7.1+cu126-cp312-cp312-manylinux_2_28_x86_64.whl",
    sha256="a" * 64,
    size=800_000_000,
)
NUMPY = Artifact(
    name="numpy",
    version="2.3.5",
    filename="numpy-2.3.5-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    sha256="b" * 64,
    size=16_000_000,
)


class StandIn:
    """A machine on which everything is in order, until a test takes something away."""

    def __init__(self, folder: Path, index: Index) -> None:
        self.folder = folder
        self.index = index
        self.house = folder / "house"
        self.programs = folder / "bin"
        for new in (self.house, self.programs):
            new.mkdir()
        self.program("g++", 'echo "g++ 12"')
        path = folder / "gpu.yaml"
        path.write_text('triton: "25.06"\ntorch: "2.7.1"\ncuda: cu126\ndependencies: [numpy]\n')
        self.recipe = load_recipe(path)
        self.lock = Lock(
            recipe="gpu",
            recipe_digest=self.recipe.digest(),
            release="25.06",
            python="3.12",
            torch="2.7.1+cu126",
            cuda="cu126",
            demands=("numpy",),
            artifacts=(NUMPY, TORCH),
            interpreter=LOCKED,
            tools=(("uv", "0.8.0"),),
        )
        self.settings = Settings(
            find_links=(str(self.house),), index_url=index.url, pytorch_index=f"{index.base}/whl"
        )
        self.store = Store(root=folder / "store")
        self.interpreters = [
            Interpreter(
                version="3.12.1",
                prefix=Path("/opt/python"),
                executable=Path("/opt/python/bin/python3.12"),
                stdlib=Path("/opt/python/lib/python3.12"),
                include=Path("/opt/python/include/python3.12"),
                libpython=Path("/opt/python/lib/libpython3.12.so.1.0"),
                prefixes=(),
                built_at=(),
                origin="host",
            )
        ]
        self.refused = [
            "/usr/bin/python3.12: the distribution's own Python, whose library is spread across /usr"
        ]
        self.described = LOCKED
        self.free = 10**12
        self.glibc = "2.39"

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def diagnose(self, *recipes: Recipe) -> Diagnosis:
        if not lock_path(self.recipe).exists():
            write_lock(self.lock, lock_path(self.recipe))
        environ = {"PATH": str(self.programs)}
        return diagnose.doctor(
            recipes or [self.recipe],
            Session(settings=self.settings, store=self.store),
            output=self.folder / "envs",
            environ=environ,
        )

    def can(self, verb: str) -> Ability:
        [one] = self.diagnose().recipes
        [ability] = [ability for ability in one.abilities if ability.verb == verb]
        return ability


@pytest.fixture
def index() -> Iterator[Index]:
    with Index() as index:
        yield index


@pytest.fixture
def stand_in(tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn(tmp_path, index)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PATH", str(made.programs))
    monkeypatch.setattr(diagnose, "find_interpreters", lambda minor: (made.interpreters, made.refused))
    monkeypatch.setattr(requirements, "describe", lambda interpreter: made.described)
    monkeypatch.setattr(
        diagnose, "free_space", lambda use, folder: Disk(use=use, folder=folder, free=made.free)
    )
    monkeypatch.setattr("platform.libc_ver", lambda: ("glibc", made.glibc))
    return made


def gone(index: Index, *paths: str) -> None:
    """Let the index answer 500 to *paths*."""
    for path in paths:
        index.troubles[path] = [Trouble(status=500)] * 50


def test_a_machine_with_everything_can_do_everything(stand_in: StandIn) -> None:
    diagnosis = stand_in.diagnose()
    [one] = diagnosis.recipes
    assert one.recipe == "gpu"
    assert [(ability.verb, ability.possible) for ability in one.abilities] == [
        ("lock", True),
        ("build", True),
        ("verify", True),
    ]
    assert [ability.notes for ability in one.abilities] == [
        (),
        ("2 artifacts, 816 MB, to be fetched",),
        ("no NVIDIA GPU: what runs on one is not verified",),
    ]
    assert [(found.usable, found.detail) for found in diagnosis.interpreters] == [
        (True, "host"),
        (False, "the distribution's own Python, whose library is spread across /usr"),
    ]
    assert [disk.use for disk in diagnosis.disks] == ["store", "archives"]


def test_without_an_interpreter_uv_installs_one(stand_in: StandIn) -> None:
    stand_in.interpreters = []
    for verb in ("lock", "build"):
        assert stand_in.can(verb).possible
        assert stand_in.can(verb).notes[0] == "no usable CPython 3.12 here: uv installs one"


def test_without_an_interpreter_and_a_network_one_is_missing(stand_in: StandIn) -> None:
    stand_in.interpreters = []
    gone(stand_in.index, "/simple/pip/")
    for verb in ("lock", "build"):
        assert stand_in.can(verb).missing[0] == (
            "CPython 3.12 with a shared libpython; for instance: "
            "PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install 3.12"
        )


def test_another_interpreter_than_the_locked_one_is_noted(stand_in: StandIn) -> None:
    stand_in.described = dataclasses.replace(LOCKED, digest="2" * 64)
    build = stand_in.can("build")
    assert build.possible
    assert build.notes[0] == (
        "the lock was made with another CPython 3.12.1 (host): building needs --interpreter-change"
    )


def test_no_route_to_pytorchs_index_is_named(stand_in: StandIn) -> None:
    gone(stand_in.index, "/whl/cu126/torch/")
    why = (
        f"no PyTorch's index answers ({stand_in.index.base}/whl/cu126: answered 500 Internal Server Error); "
        "a wheelhouse (--find-links) does as well"
    )
    assert stand_in.can("lock").missing == (f"torch 2.7.1+cu126: {why}",)
    assert stand_in.can("build").missing == (f"1 artifact: {why}",)


@pytest.mark.parametrize("filename", [TORCH.filename, TORCH.filename.replace("+", "%2B")])
def test_torch_in_a_wheelhouse_needs_no_route(stand_in: StandIn, filename: str) -> None:
    gone(stand_in.index, "/whl/cu126/torch/")
    (stand_in.house / filename).touch()
    assert stand_in.can("lock").possible
    assert stand_in.can("build").possible
    assert stand_in.can("build").notes == ("1 artifact, 16 MB, to be fetched",)


def test_torch_for_another_python_in_a_wheelhouse_does_not_do(stand_in: StandIn) -> None:
    gone(stand_in.index, "/whl/cu126/torch/")
    (stand_in.house / TORCH.filename.replace("cp312", "cp311")).touch()
    assert not stand_in.can("lock").possible


def test_what_is_in_the_store_needs_no_route(stand_in: StandIn) -> None:
    gone(stand_in.index, "/simple/pip/", "/whl/cu126/torch/")
    for artifact in (NUMPY, TORCH):
        path = stand_in.store.artifact_path(artifact.sha256)
        path.parent.mkdir(parents=True)
        with path.open("wb") as file:
            file.truncate(artifact.size)
    assert stand_in.can("build") == Ability(verb="build", missing=(), notes=())


def test_no_route_to_the_package_index_is_named(stand_in: StandIn) -> None:
    stand_in.settings = dataclasses.replace(stand_in.settings, no_index=True, find_links=())
    why = "no package index answers (none is configured); a wheelhouse (--find-links) does as well"
    assert stand_in.can("lock").missing[0] == why
    assert stand_in.can("build").missing[-1] == f"1 artifact: {why}"


def test_a_wheelhouse_that_is_not_there_is_named(stand_in: StandIn) -> None:
    stand_in.house.rmdir()
    assert stand_in.can("lock").missing == (
        f"wheelhouse {stand_in.house}: No such file or directory; create it, or take it out of the settings",
    )


def test_a_stale_lock_cannot_be_built(stand_in: StandIn) -> None:
    stand_in.lock = dataclasses.replace(stand_in.lock, recipe_digest="0" * 64)
    path = lock_path(stand_in.recipe)
    assert stand_in.can("build").missing == (
        f"{path}: gpu.yaml changed since it was locked; envbuilder lock gpu",
    )


def test_what_was_built_at_lock_time_has_no_other_source(stand_in: StandIn) -> None:
    stand_in.lock = dataclasses.replace(stand_in.lock, built=(("numpy", f"sdist:{'c' * 64}"),))
    assert stand_in.can("build").missing == (
        f"{NUMPY.filename}: no index has it; take the wheelhouse beside the lock along",
    )
    beside = stand_in.folder / "wheelhouse"
    beside.mkdir()
    (beside / NUMPY.filename).touch()
    assert stand_in.can("build").possible


def test_a_disk_that_is_too_small_is_named(stand_in: StandIn) -> None:
    stand_in.free = 900_000_000
    assert stand_in.can("build").missing == (
        f"disk space for the store in {stand_in.store.root}: 1.9 GB needed, 0.9 GB free",
    )
    stand_in.free = 500_000_000
    assert stand_in.can("build").missing[1] == (
        f"disk space for the archives in {stand_in.folder / 'envs'}: 0.8 GB needed, 0.5 GB free"
    )


def test_without_a_compiler_nothing_is_verified(stand_in: StandIn) -> None:
    (stand_in.programs / "g++").unlink()
    assert stand_in.can("verify").missing == (
        "a C++ compiler with OpenMP; for instance: apt-get install g++",
    )
    stand_in.program("clang++", 'test "$1" = --version || { echo "no omp.h"; exit 1; }')
    assert stand_in.can("verify").missing == (
        f"a C++ compiler with OpenMP ({stand_in.programs / 'clang++'}: no omp.h); for instance: apt-get install g++",
    )


def test_an_old_driver_is_named(stand_in: StandIn) -> None:
    stand_in.program("nvidia-smi", "echo 'Tesla T4, 520.61.05, 15360'")
    assert stand_in.can("verify").missing == (
        "driver 525.60 or later for CUDA 12.6 (Tesla T4 has 520.61.05)",
    )
    stand_in.program("nvidia-smi", "echo 'Tesla T4, 550.54.15, 15360'")
    assert stand_in.can("verify") == Ability(verb="verify", missing=(), notes=())


def test_the_package_indexs_own_torch_has_a_cuda_too(stand_in: StandIn, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text('triton: "26.06"\ntorch: "2.11.0"\ncuda: pypi\n')
    stand_in.program("nvidia-smi", "echo 'Tesla T4, 550.54.15, 15360'")
    [one] = stand_in.diagnose(load_recipe(path)).recipes
    assert one.abilities[2].missing == ("driver 580.65 or later for CUDA 13.0 (Tesla T4 has 550.54.15)",)


def test_an_older_glibc_is_noted(stand_in: StandIn) -> None:
    stand_in.glibc = "2.31"
    assert stand_in.can("verify").notes[-1] == (
        "glibc 2.31 is older than the image's 2.39: a wheel that needs that cannot run here"
    )


def test_a_server_comes_from_the_nearest_place(stand_in: StandIn) -> None:
    found = stand_in.diagnose().server
    assert (found.source, found.pythons) == ("package index", ("3.8", "3.9", "3.10", "3.11", "3.12"))
    assert found.detail == f"pytriton-0.7.0 ({SERVER_WHEEL.filename}, 55 MB), to be fetched once"
    (stand_in.house / SERVER_WHEEL.filename).touch()
    assert stand_in.diagnose().server.source == "wheelhouse"


def test_no_server_is_noted(stand_in: StandIn) -> None:
    gone(stand_in.index, "/simple/pip/")
    assert stand_in.diagnose().server.source is None
    assert stand_in.can("verify").notes[0] == (
        "without a server: none on PATH, none in the store, and no source for one; name one with --tritonserver"
    )


def test_a_server_that_cannot_serve_is_named(stand_in: StandIn) -> None:
    stand_in.program("tritonserver", "exit 0")
    program = stand_in.programs / "tritonserver"
    assert stand_in.can("verify").notes[0] == (
        f"without a server: {program}: no Python backend in {stand_in.folder / 'backends'}; "
        "name one with --tritonserver"
    )
    (stand_in.folder / "backends" / "python").mkdir(parents=True)
    diagnosis = stand_in.diagnose()
    assert (diagnosis.server.source, diagnosis.server.detail) == ("PATH", str(program))


def test_it_is_all_in_tables(stand_in: StandIn) -> None:
    gone(stand_in.index, "/whl/cu126/torch/")
    tables = {title: rows for title, _, rows in stand_in.diagnose().tables()}
    assert list(tables) == [
        "Interpreters",
        "Machine",
        "Sources",
        "Recipes",
        "What is missing, and what is worth knowing",
    ]
    assert tables["Recipes"] == [("gpu", "no", "no", "yes")]
    assert ("C++ compiler", str(stand_in.programs / "g++"), "g++ 12") in tables["Machine"]
    assert ("GPU", "none", "nvidia-smi lists none") in tables["Machine"]
    for _, headings, rows in stand_in.diagnose().tables():
        assert {len(row) for row in rows} == {len(headings)}


def test_without_recipes_the_machine_is_described(stand_in: StandIn) -> None:
    diagnosis = diagnose.doctor(
        [], Session(settings=stand_in.settings, store=stand_in.store), environ={"PATH": ""}
    )
    assert [route.variant for route in diagnosis.routes if route.kind == machine.PYTORCH_INDEX] == ["cpu"]
    assert [title for title, _, _ in diagnosis.tables()] == ["Interpreters", "Machine", "Sources"]
    assert diagnosis.recipes == ()


def test_nothing_is_changed(stand_in: StandIn) -> None:
    stand_in.diagnose()
    assert not stand_in.store.root.exists()
    assert not (stand_in.folder / "envs").exists()


def test_this_very_machine_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With everything real, but no network."""
    repository = Path(__file__).parents[2]
    (tmp_path / "recipes").mkdir()
    for name in ("cpu.yaml", "pylock.cpu.toml"):
        shutil.copy(repository / "recipes" / name, tmp_path / "recipes")
    (tmp_path / "tests" / "models").mkdir(parents=True)
    (tmp_path / "tests" / "models" / "mlp").symlink_to(repository / "tests" / "models" / "mlp")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    diagnosis = api.doctor(["cpu"])
    assert any(found.usable and found.minor == "3.11" for found in diagnosis.interpreters)
    assert [one.recipe for one in diagnosis.recipes] == ["cpu"]
    assert any(compiler.problem is None for compiler in diagnosis.compilers)


def conda_recipe(folder: Path, *channels: str) -> Recipe:
    path = folder / "conda.yaml"
    path.write_text(
        'triton: "25.06"\ntorch: "2.7.1"\ncuda: pypi\nprovider: conda\n'
        f"channels: [{', '.join(channels)}]\nconda: [tool]\n"
    )
    return load_recipe(path)


def test_conda_channels_are_asked_and_no_interpreter_is_needed(
    stand_in: StandIn, tmp_path: Path, index: Index
) -> None:
    stand_in.interpreters = []
    (tmp_path / "here" / "noarch").mkdir(parents=True)
    (tmp_path / "here" / "noarch" / "repodata.json").write_text("{}")
    index.files["own/noarch/repodata.json"] = b"{}"
    recipe = conda_recipe(tmp_path, f"{tmp_path}/here", f"{index.base}/files/own")
    diagnosis = stand_in.diagnose(recipe)
    assert diagnosis.interpreters == ()
    routes = [(one.place, one.answers) for one in diagnosis.routes if one.kind == "conda channel"]
    assert routes == [((tmp_path / "here").as_uri(), True), (f"{index.base}/files/own", True)]
    (one,) = diagnosis.recipes
    assert (one.abilities[0].verb, one.abilities[0].missing) == ("lock", ())


def test_a_channel_that_is_none(stand_in: StandIn, tmp_path: Path, index: Index) -> None:
    (tmp_path / "empty").mkdir()
    recipe = conda_recipe(tmp_path, f"{tmp_path}/empty", f"{index.base}/files/gone")
    (one,) = stand_in.diagnose(recipe).recipes
    assert one.abilities[0].missing == (
        f"channel empty does not answer ({(tmp_path / 'empty').as_uri()}: no channel: it has no noarch/repodata.json)",
        f"channel gone does not answer ({index.base}/files/gone: not found)",
    )


def test_channels_that_the_conda_configuration_does_not_allow(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".condarc").write_text("denylist_channels: [conda-forge]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (one,) = stand_in.diagnose(conda_recipe(tmp_path, "conda-forge")).recipes
    (missing,) = one.abilities[0].missing
    assert "conda-forge" in missing


def test_without_py_rattler(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ResolveError("not there", hint=installing("conda"))

    monkeypatch.setattr(requirements, "rattler", missing)
    (tmp_path / "noarch").mkdir()
    (tmp_path / "noarch" / "repodata.json").write_text("{}")
    (one,) = stand_in.diagnose(conda_recipe(tmp_path, str(tmp_path))).recipes
    assert one.abilities[0].missing == (f"py-rattler, which reads channels: {installing('conda')}",)
