from __future__ import annotations

import os
from pathlib import Path

import pytest

from envbuilder.deploy.layout import deploy
from envbuilder.errors import DeployError, IntegrityError
from envbuilder.resources import runtime_file

from .conftest import CONFIG, MODEL, write_archive

DEPLOYED = """\
# Ours: do not touch.
backend: "python"   # the backend
default_model_filename: "torch_runtime.py"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
parameters {
  key: "EXECUTION_ENV_PATH"
  value { string_value: "ENVIRONMENT" }
}
"""


def tree(folder: Path) -> dict[str, str]:
    """Every path below a folder, with what tells whether it was touched."""
    return {
        path.relative_to(folder).as_posix(): f"{path.lstat().st_ino} {path.lstat().st_mtime_ns}"
        for path in folder.rglob("*")
    }


def test_model_layout(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository=repository)

    target = repository / "net"
    name = archive.name
    assert (target / "config.pbtxt").read_text() == DEPLOYED.replace(
        "ENVIRONMENT", f"$$TRITON_MODEL_DIRECTORY/{name}"
    )
    assert (target / "1" / "torch_runtime.py").read_bytes() == runtime_file().read_bytes()
    assert (target / "1" / "model.py").read_text() == MODEL
    assert (target / name).read_bytes() == archive.read_bytes()
    assert (done.model, done.folder, done.environment) == ("net", target, target / name)
    assert done.environment_path == f"$$TRITON_MODEL_DIRECTORY/{name}"
    assert (done.changed, done.removed, done.old_archives, done.findings) == (True, (), (), ())
    assert sorted(os.listdir(repository.parent)) == ["built", "models", "repository"]
    assert (model / "config.pbtxt").read_text() == CONFIG


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_twice_changes_nothing(
    archive: Path, model: Path, repository: Path, layout: str, unpacked: bool
) -> None:
    assert deploy(archive, model, repository=repository, layout=layout, unpacked=unpacked).changed
    before = tree(repository.parent)

    again = deploy(archive, model, repository=repository, layout=layout, unpacked=unpacked)

    assert not again.changed
    assert tree(repository.parent) == before
