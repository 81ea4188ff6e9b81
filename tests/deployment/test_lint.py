from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from envbuilder.deployment.config import read_config
from envbuilder.deployment.lint import (
    Finding,
    check_backend_name,
    check_environment_path,
    check_name,
    find_problems,
    is_plain_python_model,
    version_folders,
)
from envbuilder.errors import DeployError
from tests.deployment.conftest import CONFIG, make_manifest


def problems(model: Path, *, plain: bool = False, **manifest: str) -> dict[str, Finding]:
    found = find_problems(model, read_config(model), make_manifest(**manifest), plain=plain)
    return {finding.id: finding for finding in found}


@pytest.mark.parametrize("name", ["resnet50", "a.b-c_d+e", "2", "größe", "with blank", "x:y"])
def test_names(name: str) -> None:
    check_name(name, "here")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "it is empty"),
        (" ", "it is empty"),
        ("../x", "Triton refuses names that lead to another folder"),
        ("..", "Triton refuses names that lead to another folder"),
        ("a/b", "Triton refuses names that lead to another folder"),
        ("a\\b", "Triton refuses names that lead to another folder"),
        (".hidden", "a folder of this name would be hidden"),
        ("a\n", "it cannot be asked for in a URL (blanks at its ends, control characters, ?, # or %)"),
        ("a?b", "it cannot be asked for in a URL (blanks at its ends, control characters, ?, # or %)"),
        ("a\0b", "it cannot be asked for in a URL (blanks at its ends, control characters, ?, # or %)"),
        ("ä" * 101, "it is longer than 200 bytes"),
    ],
)
def test_names_that_are_refused(name: str, problem: str) -> None:
    with pytest.raises(DeployError) as caught:
        check_name(name, "here")
    assert caught.value.message == f"here: {name!r} is no name for a model: {problem}"
    assert caught.value.hint == "for instance resnet50"
    assert caught.value.exit_code == 8


def test_backend_names() -> None:
    check_backend_name("torch-cpu")
    with pytest.raises(DeployError, match="'pytorch' is the name of one of Triton's own backends"):
        check_backend_name("pytorch")


@pytest.mark.parametrize("path", ["/envs/e.tar.gz", "$$TRITON_MODEL_DIRECTORY/e.tar.gz", "/a/b..c/e"])
def test_environment_paths(path: str) -> None:
    check_environment_path(path)


@pytest.mark.parametrize(
    "path",
    [
        "e.tar.gz",
        "../e.tar.gz",
        "$$TRITON_MODEL_DIRECTORY/../envs/e.tar.gz",
        "$$TRITON_MODEL_DIRECTORYx",
        "/models/$$TRITON_MODEL_DIRECTORY/e.tar.gz",
        "/envs/../e",
        "",
    ],
)
def test_environment_paths_that_are_refused(path: str) -> None:
    with pytest.raises(DeployError) as caught:
        check_environment_path(path)
    assert caught.value.message == f"{path!r} is no path that a server finds an environment by"


def test_a_good_model_has_no_findings(model: Path) -> None:
    assert problems(model) == {}


def test_versions_in_order(model: Path) -> None:
    for name in ("10", "2", "0", "01", "x1"):
        (model / name).mkdir()
    assert [path.name for path in version_folders(model)] == ["0", "1", "2", "10"]


def test_folders_that_triton_would_read_as_a_version(model: Path) -> None:
    for name in ("01", "2-old", "-3", "labels"):
        (model / name).mkdir()
    found = [
        finding.message
        for finding in find_problems(model, read_config(model), make_manifest(), plain=False)
        if finding.id == "version-name" and finding.level == "warning"
    ]
    assert found == [
        f"folder {name!r}: Triton reads a version out of its name, or ignores it"
        for name in ("-3", "01", "2-old")
    ]


def test_no_version(model: Path) -> None:
    (model / "1").rename(model / "one")
    found = problems(model)["no-version"]
    assert (found.level, found.message) == ("error", f"{model} has no version folder")


def test_version_policy(model: Path) -> None:
    (model / "config.pbtxt").write_text(f"{CONFIG}version_policy {{ specific {{ versions: [1, 3] }} }}\n")
    found = problems(model)["version-missing"]
    assert found.message == f"version_policy asks for version 3, and {model} has no such folder"


def test_an_empty_version(model: Path) -> None:
    (model / "2").mkdir()
    found = problems(model)["nothing-to-load"]
    assert found.message == "version 2 holds no model.py, model.pt, model.safetensors or model.pt2"
    assert "nothing-to-load" not in problems(model, plain=True)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_weights_without_code(model: Path, name: str) -> None:
    (model / "1" / "model.py").unlink()
    (model / "1" / name).write_bytes(b"weights")
    found = problems(model)["weights-without-code"]
    assert found.message == f"version 1: {name} holds weights only, and there is no model.py to put them into"


@pytest.mark.parametrize(
    ("name", "member"), [("model.pt", "net/constants.pkl"), ("model.pt2", "archive_format")]
)
def test_programs_need_no_code(model: Path, name: str, member: str) -> None:
    (model / "1" / "model.py").unlink()
    with zipfile.ZipFile(model / "1" / name, "w") as archive:
        archive.writestr(member, "")
    assert problems(model) == {}


@pytest.mark.parametrize(
    ("tensors", "finding", "message"),
    [
        ("", "no-tensors", "config.pbtxt has no input: the runtime needs each one's dims"),
        (
            'input { name: "x" data_type: TYPE_FP32 }',
            "tensor-incomplete",
            "config.pbtxt: input 'x' has no dims",
        ),
        ("input { dims: 1 }", "tensor-incomplete", "config.pbtxt: input number 1 has no name, no data_type"),
        (
            'input { name: "x" data_type: TYPE_FP32 dims: 1 } input { name: "x" data_type: TYPE_FP32 dims: 1 }',
            "tensor-twice",
            "config.pbtxt: input 'x' is there twice",
        ),
    ],
)
def test_tensors(model: Path, tensors: str, finding: str, message: str) -> None:
    (model / "config.pbtxt").write_text(f'{tensors}\noutput {{ name: "y" data_type: TYPE_FP32 dims: 1 }}\n')
    assert problems(model)[finding].message == message
    assert finding not in problems(model, plain=True)


def test_stub_against_archive(model: Path) -> None:
    assert "stub-python" not in problems(model, release="25.06", python="3.12.3")
    found = problems(model, release="25.06", python="3.10")["stub-python"]
    assert found.level == "error"
    assert found.message == "the archive holds Python 3.10, and the stub of Triton 25.06 is linked to 3.12"


def test_a_stub_in_the_model(model: Path) -> None:
    (model / "triton_python_backend_stub").touch()
    assert problems(model)["own-stub"].level == "warning"


def test_gpu_without_cuda(model: Path) -> None:
    (model / "config.pbtxt").write_text(f"{CONFIG}instance_group {{ kind: KIND_GPU }}\n")
    assert problems(model)["gpu-without-cuda"].level == "error"
    assert problems(model, cuda="cu126") == {}


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("class TritonPythonModel:\n    pass\n", True),
        ("import x\nclass  TritonPythonModel(x.Base):\n", True),
        ("from base import TritonPythonModel\n", True),
        ("# class TritonPythonModel\n", False),
        ("class Net: pass\n", False),
    ],
)
def test_plain_python_models(model: Path, source: str, plain: bool) -> None:
    (model / "1" / "model.py").write_text(source)
    assert is_plain_python_model(model / "1", read_config(model)) is plain


def test_plain_python_models_have_the_configured_file(model: Path) -> None:
    (model / "1" / "served.py").write_text("class TritonPythonModel: pass\n")
    assert not is_plain_python_model(model / "1", read_config(model))
    (model / "config.pbtxt").write_text('default_model_filename: "served.py"')
    assert is_plain_python_model(model / "1", read_config(model))


@pytest.mark.parametrize("name", ["torch_runtime.py", "_torch_runtime"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_of_the_users_under_a_name_of_the_runtimes(model: Path, name: str, kind: str) -> None:
    if kind == "file":
        (model / "1" / name).write_text("helper = 1\n")
    else:
        (model / "1" / name).mkdir()
        (model / "1" / name / "helper.py").write_text("")
    found = problems(model)["runtime-name"]
    assert found.level == "error"
    assert found.message == f"version 1 holds {name}, the name under which the runtime is deployed"
    assert found.hint == f"give {name} another name"


def test_the_runtime_is_no_model_of_the_users(model: Path) -> None:
    (model / "1" / "torch_runtime.py").write_text("class TritonPythonModel: pass\n")
    (model / "config.pbtxt").write_text('default_model_filename: "torch_runtime.py"')
    assert not is_plain_python_model(model / "1", read_config(model))
