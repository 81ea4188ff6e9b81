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
)
from envbuilder.deployment.versions import version_folders
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
        ("../x", "Triton rejects names that point to another folder"),
        ("..", "Triton rejects names that point to another folder"),
        ("a/b", "Triton rejects names that point to another folder"),
        ("a\\b", "Triton rejects names that point to another folder"),
        (".hidden", "a folder of this name would be hidden"),
        ("a\n", "it is not usable in a URL (leading or trailing blanks, control characters, ?, # or %)"),
        ("a?b", "it is not usable in a URL (leading or trailing blanks, control characters, ?, # or %)"),
        ("a\0b", "it is not usable in a URL (leading or trailing blanks, control characters, ?, # or %)"),
        ("ä" * 101, "it is longer than 200 bytes"),
    ],
)
def test_names_that_are_refused(name: str, problem: str) -> None:
    with pytest.raises(DeployError) as caught:
        check_name(name, "here")
    assert caught.value.message == f"here: {name!r} is not a valid model name: {problem}"
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
    assert caught.value.message == f"{path!r} is not a path where a server finds an environment"


def test_a_good_model_has_no_findings(model: Path) -> None:
    assert problems(model) == {}


def test_versions_in_order(model: Path) -> None:
    for name in ("10", "2", "0", "01", "x1"):
        (model / name).mkdir()
    assert [path.name for path in version_folders(model)] == ["0", "1", "2", "10"]


def test_folders_that_triton_would_read_as_a_version(model: Path) -> None:
    for name in ("01", "2-old", "2", "-3", "labels"):
        (model / name).mkdir()
    found = [
        finding.message
        for finding in find_problems(model, read_config(model), make_manifest(), plain=False)
        if finding.id == "version-name" and finding.level == "warning"
    ]
    assert found == [
        f"folder {name!r}: Triton parses a version from its name, or ignores it"
        for name in ("-3", "01", "2-old")
    ]


@pytest.mark.parametrize(
    ("name", "policy", "level", "said"),
    [
        ("2-old", "", "error", "folder '2-old' counts as version 2, and there is no folder 2"),
        (" +3", "", "error", "folder ' +3' counts as version 3, and there is no folder 3"),
        ("-05", "all { }", "error", "folder '-05' counts as version -5, and there is no folder -5"),
        ("-05", "", "warning", "folder '-05': Triton parses"),
        ("2-old", "specific { versions: 1 }", "warning", "folder '2-old': Triton parses"),
        (
            "99999999999999999999",
            "specific { versions: 1 }",
            "error",
            "folder '99999999999999999999' counts as a version, and a number of this size ends the server",
        ),
    ],
)
def test_a_folder_whose_name_keeps_a_server_from_loading(
    model: Path, name: str, policy: str, level: str, said: str
) -> None:
    (model / name).mkdir()
    (model / "config.pbtxt").write_text(f"{CONFIG}version_policy {{ {policy} }}\n" if policy else CONFIG)
    found = problems(model)["version-name"]
    assert (found.level, found.message[: len(said)]) == (level, said)


def test_no_version(model: Path) -> None:
    (model / "1").rename(model / "one")
    found = problems(model)["no-version"]
    assert (found.level, found.message) == ("error", f"{model} has no version folder")


def test_version_policy(model: Path) -> None:
    (model / "config.pbtxt").write_text(f"{CONFIG}version_policy {{ specific {{ versions: [1, 3] }} }}\n")
    found = problems(model)["version-missing"]
    assert found.message == f"version_policy asks for version 3, but {model} has no such folder"
    assert found.level == "warning"  # a server serves version 1
    (model / "config.pbtxt").write_text(f"{CONFIG}version_policy {{ specific {{ versions: [3] }} }}\n")
    assert problems(model)["version-missing"].level == "error"


def test_an_empty_version(model: Path) -> None:
    (model / "2").mkdir()
    found = problems(model)["nothing-to-load"]
    assert found.message == "version 2 contains no model.py, model.pt, model.safetensors or model.pt2"
    assert "nothing-to-load" not in problems(model, plain=True)


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_weights_without_code(model: Path, name: str) -> None:
    (model / "1" / "model.py").unlink()
    (model / "1" / name).write_bytes(b"weights")
    found = problems(model)["weights-without-code"]
    assert (
        found.message
        == f"version 1: {name} contains only weights, and there is no model.py to load them into"
    )


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
            "config.pbtxt: input 'x' is duplicated",
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
    assert problems(model, plain=True)["gpu-without-cuda"].level == "warning", "it may not use torch"
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


def write_torch(path: Path) -> None:
    """Write what looks like a file of torch.save."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")


def test_unclear_weights(model: Path) -> None:
    for name in ("pytorch_model.bin", "model.safetensors"):
        write_torch(model / "1" / name)
    found = problems(model)["weights-unclear"]
    assert found.level == "error"
    assert found.message == ("version 1 contains several weight files: model.safetensors, pytorch_model.bin")
    text = 'parameters { key: "MODEL_WEIGHTS" value { string_value: "pytorch_model.bin" } }\n'
    (model / "config.pbtxt").write_text(CONFIG + text)
    assert "weights-unclear" not in problems(model)


def test_both_formats_of_a_download_are_not_unclear(model: Path) -> None:
    for name in ("pytorch_model.bin", "model.safetensors"):
        write_torch(model / "1" / name)
    (model / "1" / "config.json").write_text('{"model_type": "bert"}')
    assert "weights-unclear" not in problems(model)
    write_torch(model / "1" / "best.pt")
    assert problems(model)["weights-unclear"].message == (
        "version 1 contains several weight files: best.pt, model.safetensors"
    )


@pytest.mark.parametrize("line", ["open('pytorch_model.bin')", "Net.from_pretrained('.')"])
def test_weights_that_the_code_may_read(model: Path, line: str) -> None:
    for name in ("pytorch_model.bin", "model.safetensors"):
        write_torch(model / "1" / name)
    with (model / "1" / "model.py").open("a") as file:
        file.write(f"\ndef load():\n    return {line}\n")
    assert "weights-unclear" not in problems(model)


def test_weights_that_nothing_reads(model: Path) -> None:
    write_torch(model / "1" / "checkpoints" / "last.pt")
    found = problems(model)["weights-not-read"]
    assert found.level == "warning"
    assert found.message == "version 1: unused weights checkpoints/last.pt"
    write_torch(model / "1" / "model.pt")
    assert "weights-not-read" not in problems(model)


@pytest.mark.parametrize("name", ["model-00002-of-00002.safetensors", "../2/model.safetensors"])
def test_shards_that_are_not_there(model: Path, name: str) -> None:
    (model / "1" / "model.safetensors.index.json").write_text(f'{{"weight_map": {{"a": "{name}"}}}}')
    found = problems(model)["weights-unreadable"]
    assert found.level == "error"
    assert found.message.startswith("version 1: model.safetensors.index.json cannot be read: it names ")


def test_a_model_by_itself_of_any_name(model: Path) -> None:
    (model / "1" / "model.py").unlink()
    write_torch(model / "1" / "resnet.pt2")
    assert not {"nothing-to-load", "weights-without-code"} & set(problems(model))


def test_models_that_a_library_defines(model: Path) -> None:
    (model / "1" / "model.py").unlink()
    write_torch(model / "1" / "model.safetensors")
    assert "weights-without-code" in problems(model)
    (model / "1" / "config.json").write_text('{"model_type": "bert"}')
    assert not {"weights-without-code", "config-without-weights"} & set(problems(model))
    (model / "1" / "model.safetensors").rename(model / "weights")
    assert "config-without-weights" in problems(model)
    (model / "weights").rename(model / "1" / "model.safetensors")
    (model / "1" / "config.json").unlink()
    text = 'parameters { key: "MODEL_CLASS" value { string_value: "timm:create_model" } }\n'
    (model / "config.pbtxt").write_text(CONFIG + text)
    assert "weights-without-code" not in problems(model)


def parameter(name: str, value: str) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}\n'


def test_a_class_of_a_library_and_code(model: Path) -> None:
    (model / "config.pbtxt").write_text(CONFIG + parameter("MODEL_CLASS", "torch.nn:Linear"))
    assert problems(model)["class-and-code"].level == "error"


def test_a_config_that_is_not_transformers(model: Path) -> None:
    (model / "1" / "model.py").unlink()
    write_torch(model / "1" / "model.safetensors")
    (model / "1" / "config.json").write_text('{"architecture": "resnet18"}')
    found = problems(model)["weights-without-code"]
    assert found.hint is not None
    assert "config.json is not one of transformers'" in found.hint


def test_what_has_no_effect_on_an_exported_program(model: Path) -> None:
    write_torch(model / "1" / "model.pt2")
    assert "parameter-without-effect" not in problems(model)
    (model / "config.pbtxt").write_text(CONFIG + parameter("MODEL_WEIGHTS", "other.pt"))
    assert problems(model)["parameter-without-effect"].level == "error"


def test_weights_that_were_never_downloaded(model: Path) -> None:
    (model / "1" / "model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    found = problems(model)["weights-unreadable"]
    assert "`git lfs pull`" in found.message
    (model / "1" / "model.bin").unlink()
    (model / "1" / "model.bin").symlink_to("gone")
    assert "link to nothing" in problems(model)["weights-unreadable"].message
