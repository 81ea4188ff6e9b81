"""A model and its environment, laid out as a server would load them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.aot.model_sandbox import ModelSandbox
from envbuilder.catalog.triton import find_release
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import DeployError
from envbuilder.util.files import file_sha256
from envbuilder.util.resources import runtime_file
from tests.deployment.conftest import CONFIG


def make(environment: Path, model: Path) -> ModelSandbox:
    scratch = model.parent.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return ModelSandbox.make(environment, model, scratch, isolate=False)


def test_the_models_files_with_the_runtime_and_without_its_environment(archive: Path, model: Path) -> None:
    (model / "2").mkdir()
    (model / "2" / "model.py").write_text("x = 2")
    (model / "1" / "torch_runtime.py").write_text("# of an earlier deployment")
    (model / "labels.txt").write_text("a")
    text = set_parameter(CONFIG, "EXECUTION_ENV_PATH", "/somewhere.tar.gz")
    (model / "config.pbtxt").write_text(text)
    before = {path: path.stat().st_mtime_ns for path in model.rglob("*")}
    stage = make(archive, model)
    folder = stage.sandbox.root / "models" / "net"
    assert stage.folder == folder
    for version in ("1", "2"):
        assert (folder / version / "torch_runtime.py").read_bytes() == runtime_file().read_bytes()
        assert (folder / version / "_torch_runtime" / "engine.py").is_file()
        assert (folder / version / "model.py").read_bytes() == (model / version / "model.py").read_bytes()
    assert (folder / "labels.txt").read_text() == "a"
    assert stage.config.name == "net"
    assert stage.config.default_model_filename == "torch_runtime.py"
    assert "EXECUTION_ENV_PATH" not in stage.config.parameters
    assert stage.launch == find_release("25.06").launch
    assert stage.identity == file_sha256(archive)
    assert {path: path.stat().st_mtime_ns for path in model.rglob("*")} == before


def test_a_model_that_controls_itself_is_refused(archive: Path, model: Path) -> None:
    (model / "1" / "model.py").write_text("class TritonPythonModel: pass\n")
    with pytest.raises(DeployError, match="has a TritonPythonModel of its own"):
        make(archive, model)


def test_what_is_no_environment(tmp_path: Path, model: Path) -> None:
    with pytest.raises(DeployError):
        make(tmp_path / "gone.tar.gz", model)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeployError, match="is not an environment"):
        make(tmp_path / "empty", model)


def test_an_archive_and_a_folder_are_laid_out_alike(archive: Path, here: Path, model: Path) -> None:
    stage = make(archive, model)
    stage.lay_out()
    assert (stage.sandbox.environment / "bin" / "activate").read_bytes() == b"# nothing\n"
    os.rename(stage.sandbox.root, stage.sandbox.root.with_name("first"))
    stage = make(here, model)
    stage.lay_out()
    assert (stage.sandbox.environment / "bin" / "python3").read_bytes() == (
        here / "bin" / "python3"
    ).read_bytes()


def test_an_interpreter_that_dies_is_told_with_its_last_words(here: Path, model: Path) -> None:
    (here / "bin" / "python3").write_text("#!/bin/sh\necho no licence >&2\nexit 3\n")
    stage = make(here, model)
    stage.lay_out()
    with pytest.raises(DeployError) as caught:
        stage.ask("1", "describe")
    assert caught.value.message == ("net cannot be run in its environment: it exited with 3:\n  | no licence")


@pytest.mark.torch
def test_a_model_that_does_not_load(here: Path, model: Path) -> None:
    (model / "1" / "model.py").write_text("import not_there\n")
    stage = make(here, model)
    stage.lay_out()
    with pytest.raises(DeployError, match=r"^net, version 1: .*not_there") as caught:
        stage.ask("1", "describe")
    assert caught.value.hint == (
        "the model must load before it can be compiled: run `envbuilder verify` for details"
    )
