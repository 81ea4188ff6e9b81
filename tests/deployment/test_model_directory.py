from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment.config import read_config
from envbuilder.deployment.model_directory import brings_runtime, model_files, model_folder, read_model
from envbuilder.errors import DeployError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model directory with a version, and what is no part of a model."""
    folder = tmp_path / "mine"
    for path in ("1/model.py", "1/sub/weights.bin", "1/__pycache__/model.pyc", ".git/config"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x = 1\n")
    (folder / "config.pbtxt").write_text('backend: "python"\n')
    (folder / "1" / "compiled.cpu.pt2").touch()
    return folder


def test_its_files_but_not_what_was_compiled(model: Path) -> None:
    (model / "1" / "link").symlink_to("sub")
    assert sorted(model_files(model)) == [
        "1/link/weights.bin",
        "1/model.py",
        "1/sub/weights.bin",
        "config.pbtxt",
    ]


@pytest.mark.parametrize(
    ("target", "said"), [("..", "a symlink to a folder that contains it"), ("gone", "is a dangling symlink")]
)
def test_links_that_lead_nowhere(target: str, said: str, model: Path) -> None:
    (model / "1" / "link").symlink_to(target)
    with pytest.raises(DeployError, match=said):
        list(model_files(model))


def test_where_it_goes(model: Path, tmp_path: Path) -> None:
    assert model_folder(model, tmp_path / "r") == tmp_path / "r" / "mine"
    assert model_folder(model, tmp_path / "r", "other") == tmp_path / "r" / "other"
    (model / "config.pbtxt").write_text('name: "said"\nbackend: "python"\n')
    assert read_model(model, tmp_path / "r", None)[1] == "said"
    with pytest.raises(DeployError, match="lies inside the model directory"):
        model_folder(model, model / "1")


def test_all_versions_have_a_model_of_their_own_or_none(model: Path) -> None:
    assert not brings_runtime(model, read_config(model))
    (model / "2").mkdir()
    (model / "2" / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    assert brings_runtime(model, read_config(model)), "a server loads only the latest"
    for policy, plain in (("specific { versions: [ 1, 5 ] }", False), ("latest { num_versions: 1 }", True)):
        (model / "config.pbtxt").write_text(f'backend: "python"\nversion_policy {{ {policy} }}\n')
        assert brings_runtime(model, read_config(model)) is plain
    (model / "config.pbtxt").write_text('backend: "python"\nversion_policy { all { } }\n')
    with pytest.raises(DeployError, match="some versions have their own TritonPythonModel"):
        brings_runtime(model, read_config(model))
    (model / "1" / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    assert brings_runtime(model, read_config(model))
