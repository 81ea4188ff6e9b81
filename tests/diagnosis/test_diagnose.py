"""What this machine can lock, build and verify: each thing taken away once, on a machine made of stand-ins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.diagnosis import diagnose, machine
from envbuilder.store.session import Session
from envbuilder.verification.server.tritonserver import SERVER_WHEEL
from tests.diagnosis.conftest import StandIn, conda_recipe, gone
from tests.helpers.index_server import Index


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


def test_channels_that_the_conda_configuration_does_not_allow(
    stand_in: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".condarc").write_text("denylist_channels: [conda-forge]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (one,) = stand_in.diagnose(conda_recipe(tmp_path, "conda-forge")).recipes
    (missing,) = one.abilities[0].missing
    assert "conda-forge" in missing
