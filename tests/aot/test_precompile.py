"""What compiling ahead of time would do, and what of it was done before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.aot.precompile import look, precompile
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import DeployError
from tests.aot.conftest import write_package
from tests.deployment.conftest import CONFIG, write_archive
from tests.helpers.notes import Notes


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[], Path]:
    """Make an empty folder, another one each time."""
    made: list[Path] = []

    def make() -> Path:
        made.append(tmp_path / f"scratch{len(made)}")
        made[-1].mkdir()
        return made[-1]

    return make


Scratch = Callable[[], Path]


def made_of(archive: Path, model: Path, scratch: Scratch) -> str:
    return look(archive, model, scratch()).pending["1"]


def test_each_version_is_to_be_compiled_and_its_digest_is_its_own(
    archive: Path, model: Path, scratch: Scratch
) -> None:
    shutil.copytree(model / "1", model / "2")
    (model / "2" / "model.py").write_text("x = 2\n")
    outlook = look(archive, model, scratch())
    assert sorted(outlook.pending) == ["1", "2"]
    assert len(set(outlook.pending.values())) == 2
    assert outlook.kept == ()
    assert look(archive, model, scratch()) == outlook


CHANGES: dict[str, Callable[[Path], object]] = {
    "code": lambda model: (model / "1" / "model.py").write_text("x = 2\n"),
    "weights": lambda model: (model / "1" / "model.pt").write_bytes(b"x"),
    "a name": lambda model: (model / "1" / "model.py").rename(model / "1" / "other.py"),
    "configuration": lambda model: (model / "config.pbtxt").write_text(CONFIG.replace("[ 4 ]", "[ 5 ]")),
    "a file above": lambda model: (model / "shared.py").write_text("x = 1\n"),
}
SAME: dict[str, Callable[[Path], object]] = {
    "another version": lambda model: shutil.copytree(model / "1", model / "2"),
    "its environment": lambda model: (model / "config.pbtxt").write_text(
        set_parameter(CONFIG, "EXECUTION_ENV_PATH", "/x.tar.gz")
    ),
    "a comment": lambda model: (model / "config.pbtxt").write_text(f"# changed\n{CONFIG}"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_makes_it_another(archive: Path, model: Path, scratch: Scratch, change: str) -> None:
    before = made_of(archive, model, scratch)
    CHANGES[change](model)
    assert made_of(archive, model, scratch) != before


@pytest.mark.parametrize("change", SAME)
def test_what_leaves_it_the_same(archive: Path, model: Path, scratch: Scratch, change: str) -> None:
    before = made_of(archive, model, scratch)
    SAME[change](model)
    assert made_of(archive, model, scratch) == before


def test_another_environment_makes_it_another(
    archive: Path, model: Path, scratch: Scratch, tmp_path: Path
) -> None:
    other = write_archive(tmp_path / "built", torch="2.8.0")
    assert made_of(other, model, scratch) != made_of(archive, model, scratch)


# -- what is there already -------------------------------------------------------------------------


def test_what_was_made_of_the_same_is_kept_and_nothing_is_started(
    archive: Path, model: Path, scratch: Scratch, tmp_path: Path
) -> None:
    digest = made_of(archive, model, scratch)
    package = write_package(tmp_path / "deployed" / "1", digest)
    caches = write_package(tmp_path / "deployed" / "1", digest, kind="GPU", name="compiled.gpu.zip")
    outlook = look(archive, model, scratch(), present=tmp_path / "deployed")
    assert outlook.pending == {}
    assert [(one.version, one.device, one.file, one.kept) for one in outlook.kept] == [
        ("1", "CPU", package, True),
        ("1", "GPU", caches, True),
    ]
    notes = Notes()
    # Nothing could run in this archive.
    found = precompile(archive, model, scratch(), present=tmp_path / "deployed", reporter=notes)
    assert (found, notes.steps) == (outlook.kept, [])


def test_what_is_of_something_else_or_damaged_is_not_kept(
    archive: Path, model: Path, scratch: Scratch, tmp_path: Path
) -> None:
    digest = made_of(archive, model, scratch)
    version = tmp_path / "deployed" / "1"
    write_package(version, "0" * 64)
    (version / "compiled.gpu.pt2").write_bytes(b"no zip")
    write_package(version, digest, name="other.cpu.pt2")
    outlook = look(archive, model, scratch(), present=tmp_path / "deployed")
    assert (outlook.kept, outlook.pending) == ((), {"1": digest})


def test_where_the_environment_cannot_run_it_is_an_error(here: Path, model: Path, scratch: Scratch) -> None:
    (here / "bin" / "python3").write_text("#!/bin/sh\nexit 3\n")
    notes = Notes()
    with pytest.raises(DeployError, match="net cannot be run in its environment: it exited with 3"):
        precompile(here, model, scratch(), isolate=False, reporter=notes)
    assert notes.steps == [
        "Preparing here for compilation",
        "Compiling net, version 1, ahead of time",
    ]
