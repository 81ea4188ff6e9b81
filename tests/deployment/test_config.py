from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.deployment import pbtxt
from envbuilder.deployment.config import Serving, edit_config, migrated_from, read_config
from envbuilder.errors import DeployError

MODEL_LAYOUT = Serving(
    backend="python",
    runtime=None,
    model_file="torch_runtime.py",
    environment="$$TRITON_MODEL_DIRECTORY/e.tar.gz",
)
BACKEND_LAYOUT = Serving(backend="torch-cpu", runtime="model.py", model_file="model.py", environment=None)
FOREIGN_HINT = 'envbuilder serves PyTorch models: set backend: "python", or omit backend'


def write(folder: Path, text: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.pbtxt").write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def test_the_seeds_form_is_brought_over(tmp_path: Path) -> None:
    text = """\
# A model of 2023.
name: "resnet"
backend: "python"
platform: "pytorch"  # the platform handler
max_batch_size: 8

parameters: {
    key: "NUM_THREADS"
    value: { string_value: "4" }
}
"""
    config = read_config(write(tmp_path, text))
    assert migrated_from(config) == 'platform: "pytorch"'
    edited = edit_config(config, MODEL_LAYOUT)
    assert (
        edited
        == """\
# A model of 2023.
name: "resnet"
backend: "python"
default_model_filename: "torch_runtime.py"
# the platform handler
max_batch_size: 8

parameters: {
    key: "NUM_THREADS"
    value: { string_value: "4" }
}
parameters {
  key: "EXECUTION_ENV_PATH"
  value { string_value: "$$TRITON_MODEL_DIRECTORY/e.tar.gz" }
}
"""
    )
    again = read_config(write(tmp_path, edited))
    assert migrated_from(again) is None
    assert edit_config(again, MODEL_LAYOUT) == edited


def test_from_the_model_layout_to_a_backend_and_back(tmp_path: Path) -> None:
    text = 'name: "n"\nbackend: "python"\n# why\nmax_batch_size: 8\n'
    there = edit_config(read_config(write(tmp_path, text)), MODEL_LAYOUT)
    backend = edit_config(read_config(write(tmp_path, there)), BACKEND_LAYOUT)
    assert backend.splitlines() == [
        'name: "n"',
        'backend: "torch-cpu"',
        'runtime: "model.py"',
        'default_model_filename: "model.py"',
        "# why",
        "max_batch_size: 8",
    ]
    assert edit_config(read_config(write(tmp_path, backend)), MODEL_LAYOUT) == there


def test_another_name(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, 'name: "old" # ours\n'))
    serving = Serving(name="new", backend="python", runtime=None, model_file=None, environment=None)
    assert edit_config(config, serving) == 'name: "new" # ours\nbackend: "python"\n'


@pytest.mark.parametrize(
    ("text", "old"),
    [
        ("", None),
        ('backend: "python"', None),
        ('backend: "torch-cpu" runtime: "model.py"', None),
        ('backend: "pytorch"', 'backend: "pytorch"'),
        ('platform: "pytorch_libtorch"', 'platform: "pytorch_libtorch"'),
        ('backend: "pytorch" platform: "torch_aoti"', 'platform: "torch_aoti"'),
    ],
)
def test_what_is_brought_over(tmp_path: Path, text: str, old: str | None) -> None:
    assert migrated_from(read_config(write(tmp_path, text))) == old


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('backend: "onnxruntime"', '{path} says backend: "onnxruntime"'),
        ('platform: "tensorrt_plan"', '{path} says platform: "tensorrt_plan"'),
        (
            'platform: "ensemble" ensemble_scheduling { }',
            "{path} is an ensemble, which runs no Python code",
        ),
    ],
)
def test_what_the_runtime_cannot_serve(tmp_path: Path, text: str, message: str) -> None:
    config = read_config(write(tmp_path, text))
    with pytest.raises(DeployError) as caught:
        migrated_from(config)
    assert caught.value.message == message.format(path=tmp_path / "config.pbtxt")
    assert caught.value.hint == FOREIGN_HINT
    assert caught.value.exit_code == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "n"\nbackend "python"\n', '{path}, line 2: \'backend "python"\': Expected ":".'),
        (
            "max_batch_size: 1\n\nmax_batchsize: 2\n",
            '{path}, line 3: Message type "inference.ModelConfig" has no field named "max_batchsize".',
        ),
        ('name: "open', "{path}, line 1: 'name: \"open': String missing ending quote: '\"open'"),
        (
            'name: "a"\nname: "b"',
            '{path}, line 2: Message type "inference.ModelConfig" should not have multiple "name" fields.',
        ),
        (b'name: "\xff"', "{path} is not UTF-8: byte 7"),
    ],
)
def test_what_does_not_parse(tmp_path: Path, text: str | bytes, message: str) -> None:
    model = write(tmp_path, text)
    with pytest.raises(DeployError) as caught:
        read_config(model)
    assert caught.value.message == message.format(path=model / "config.pbtxt")
    assert caught.value.exit_code == 8


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(DeployError) as caught:
        read_config(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has no config.pbtxt\n  hint: a model directory contains config.pbtxt and version folders "
        "(1/, 2/, …); inputs and outputs cannot be derived from a model"
    )


def test_config_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").mkdir()
    with pytest.raises(DeployError) as caught:
        read_config(tmp_path)
    assert caught.value.message == f"{tmp_path / 'config.pbtxt'} cannot be read: is a folder, not a file"


@pytest.mark.parametrize("broken", ["max_batch_size: 9", "no text format %"])
def test_an_edit_that_went_wrong_is_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    config = read_config(write(tmp_path, 'name: "n"\n'))
    monkeypatch.setattr(pbtxt, "set_parameter", lambda text, key, value: broken)
    with pytest.raises(DeployError) as caught:
        edit_config(config, MODEL_LAYOUT)
    assert caught.value.message == f"{tmp_path / 'config.pbtxt'} cannot be edited safely"
