"""What a recipe needs of a machine, each thing taken away once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.diagnosis import requirements
from envbuilder.diagnosis.requirements import Ability
from envbuilder.errors import ResolveError
from envbuilder.lockfile.pylock import lock_path
from envbuilder.recipe.load import load_recipe
from envbuilder.util.extras import installing
from tests.diagnosis.conftest import LOCKED, NUMPY, TORCH, StandIn, conda_recipe, gone
from tests.helpers.index_server import Index


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


def test_a_channel_that_is_none(stand_in: StandIn, tmp_path: Path, index: Index) -> None:
    (tmp_path / "empty").mkdir()
    recipe = conda_recipe(tmp_path, f"{tmp_path}/empty", f"{index.base}/files/gone")
    (one,) = stand_in.diagnose(recipe).recipes
    assert one.abilities[0].missing == (
        f"channel empty does not answer ({(tmp_path / 'empty').as_uri()}: no channel: it has no noarch/repodata.json)",
        f"channel gone does not answer ({index.base}/files/gone: not found)",
    )


def test_without_py_rattler(stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ResolveError("not there", hint=installing("conda"))

    monkeypatch.setattr(requirements, "rattler", missing)
    (tmp_path / "noarch").mkdir()
    (tmp_path / "noarch" / "repodata.json").write_text("{}")
    (one,) = stand_in.diagnose(conda_recipe(tmp_path, str(tmp_path))).recipes
    assert one.abilities[0].missing == (f"py-rattler, which reads channels: {installing('conda')}",)


def test_a_recipe_of_another_provider_is_not_looked_at_further(stand_in: StandIn) -> None:
    stand_in.interpreters = []
    stand_in.recipe = dataclasses.replace(stand_in.recipe, provider="acme")
    assert stand_in.can("lock").missing == ()
    assert stand_in.can("lock").notes == ("the base comes from the provider acme: not looked at",)
