"""Configurations that are completed: what is said stays, and what is lacking is found in the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2

from envbuilder.aot.complete_config import complete_model
from envbuilder.archive.manifest import Manifest
from envbuilder.deployment.config import read_config
from envbuilder.errors import DeployError
from tests.deployment.conftest import CONFIG, MODEL, make_manifest

CPU = make_manifest(cuda="cpu")


def complete(environment: Path, model: Path, manifest: Manifest = CPU) -> Path:
    scratch = model.parent.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return complete_model(environment, manifest, model, scratch, isolate=False)


@pytest.mark.parametrize(("cuda", "kind"), [("cpu", "KIND_CPU"), ("cu126", "KIND_GPU")])
def test_only_an_instance_group_is_lacking(archive: Path, model: Path, cuda: str, kind: str) -> None:
    made = complete(archive, model, make_manifest(cuda=cuda))
    assert made.name == "net"
    assert made != model
    added = f"instance_group [ {{ count: 1 kind: {kind} }} ]\n"
    assert (made / "config.pbtxt").read_text() == CONFIG + added
    assert (made / "1" / "model.py").read_text() == (model / "1" / "model.py").read_text()
    assert (model / "config.pbtxt").read_text() == CONFIG


def test_what_is_complete_is_taken_as_it_is(archive: Path, model: Path) -> None:
    (model / "config.pbtxt").write_text(CONFIG + "instance_group [ { kind: KIND_CPU } ]")
    assert complete(archive, model) == model


def test_a_last_line_without_an_end_and_another_name(archive: Path, model: Path) -> None:
    (model / "config.pbtxt").write_text(f'{CONFIG}name: "resnet"')
    made = complete(archive, model)
    assert made.name == "resnet"
    assert read_config(made).message.instance_group[0].count == 1


def test_a_model_without_versions_cannot_be_asked(here: Path, model: Path) -> None:
    (model / "config.pbtxt").write_text('backend: "python"\n')
    (model / "1" / "model.py").unlink()
    (model / "1").rmdir()
    with pytest.raises(DeployError, match="has no version folder") as caught:
        complete(here, model)
    assert caught.value.hint == "put the model's files into a folder named 1"


@pytest.mark.torch
def test_outputs_are_found_by_running_the_model(here: Path, model: Path) -> None:
    (model / "config.pbtxt").write_text(CONFIG.partition("output")[0])
    source = MODEL.replace("return x", 'return {"y\\"": x.sum(1).int()}')
    (model / "1" / "model.py").write_text(source)
    made = complete(here, model)
    message = read_config(made).message
    assert [(one.name, one.data_type, list(one.dims)) for one in message.output] == [
        ('y"', model_config_pb2.TYPE_INT32, [1])
    ]
    assert ([one.name for one in message.input], message.max_batch_size) == (["x"], 8)
