"""A model in a sandbox: what it is, and what keeps a server from loading it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.archive.names import ReadArchive, open_archive
from envbuilder.deployment.config import ENVIRONMENT, RUNTIME_FILE, read_config
from envbuilder.errors import DeployError
from envbuilder.progress import SILENT
from envbuilder.util.resources import sample_model
from envbuilder.verification.live.deployed import (
    DeployedModel,
    find_obstacle,
    find_other_name,
    latest_version,
    other_backend,
    prepare,
    serve_in_place,
)
from envbuilder.verification.live.launch import Sandbox, host_compilers
from tests.helpers.environments import environment, manifest, pack
from tests.helpers.own_models import FLOATS, HELPER, SCALING, TWICE, write

COMPILE = "TORCH_COMPILE_OPTIONAL_PARAMETERS"


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox.make(tmp_path / "sandbox", isolate=False)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    tree = environment()
    return pack(tree | {MANIFEST_PATH: manifest(tree).text().encode()}, tmp_path)


def deployed(folder: Path, sandbox: Sandbox) -> DeployedModel:
    config = read_config(folder).message
    config.name = config.name or folder.name
    return DeployedModel(
        sandbox=sandbox,
        deployment=None,
        folder=folder,
        config=config,
        version=latest_version(folder, config),
    )


# -- deployed with an archive ----------------------------------------------------------------------


def test_the_users_own_model_stays_as_it_is(tmp_path: Path, sandbox: Sandbox, archive: Path) -> None:
    model = write(tmp_path / "models", "helper", HELPER, FLOATS, {"1/scaling.py": SCALING.encode()})
    found = prepare(archive, model, sandbox, tmp_path / "envs", compile={}, reporter=SILENT)
    assert (found.name, found.version, found.file, found.own) == ("helper", "1", "model.py", True)
    assert found.folder == sandbox.root / "models" / "helper"
    assert found.deployment is not None
    assert found.deployment.environment.name == archive.name
    assert COMPILE not in found.config.parameters
    assert found.job()["model"] == str(found.folder)
    assert found.job()["config"]["name"] == "helper"
    assert found.outputs == sandbox.root / "verify" / "outputs-helper.npz"
    assert (tmp_path / "envs" / archive.name).samefile(archive)


def test_the_archive_is_read_once_for_all_models_until_it_changes(
    tmp_path: Path, sandbox: Sandbox, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def counting(path: Path, **rest: Any) -> ReadArchive:
        opened.append(path)
        return open_archive(path, **rest)

    monkeypatch.setattr("envbuilder.verification.live.deployed.open_archive", counting)

    def deploy(name: str) -> None:
        model = write(tmp_path / "models", name, HELPER, FLOATS)
        prepare(archive, model, sandbox, tmp_path / "envs", compile={}, reporter=SILENT)

    for name in ("one", "two", "three"):
        deploy(name)
    assert opened == [archive]
    os.utime(archive, (1, 1))
    deploy("four")
    assert opened == [archive, archive]


def test_a_model_of_the_runtime_is_compiled_as_it_says_or_as_is_asked(
    tmp_path: Path, sandbox: Sandbox, archive: Path
) -> None:
    usual = prepare(archive, sample_model(), sandbox, tmp_path / "envs", compile={}, reporter=SILENT)
    assert (usual.file, usual.own, usual.decoupled) == (RUNTIME_FILE, False, False)
    assert usual.config.parameters[COMPILE].string_value == "{}"
    asked = prepare(
        archive, sample_model(), sandbox, tmp_path / "envs", compile={"mode": "x"}, reporter=SILENT
    )
    assert asked.config.parameters[COMPILE].string_value == '{"mode": "x"}'
    assert read_config(asked.folder).message.parameters[COMPILE].string_value == '{"mode": "x"}'


def test_a_folder_that_is_no_model(tmp_path: Path, sandbox: Sandbox, archive: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(DeployError):
        prepare(archive, tmp_path / "none", sandbox, tmp_path / "envs", compile={}, reporter=SILENT)


def test_an_environment_in_a_folder_is_named_where_it_is(tmp_path: Path, sandbox: Sandbox) -> None:
    model = write(tmp_path, "helper", HELPER, FLOATS)
    serve_in_place([deployed(model, sandbox)], tmp_path / "my env")
    assert read_config(model).message.parameters[ENVIRONMENT].string_value == str(tmp_path / "my env")


def test_compilers_of_this_machine_are_hidden_where_the_environment_has_its_own(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    model = deployed(write(tmp_path, "helper", HELPER, FLOATS), sandbox)
    assert model.hidden == ()
    assert replace(model, compiler="bin/g++").hidden == host_compilers()


# -- what a server would do ------------------------------------------------------------------------


def test_the_latest_version_is_the_one_that_is_served(tmp_path: Path) -> None:
    for name in ("1", "2", "10", "notes"):
        (tmp_path / name).mkdir()
    config = model_config_pb2.ModelConfig()
    assert latest_version(tmp_path, config) == "10"
    config.version_policy.specific.versions.append(2)
    assert latest_version(tmp_path, config) == "2"
    config.version_policy.specific.versions[:] = [7]
    assert latest_version(tmp_path, config) == "1"


@pytest.mark.parametrize(
    ("fields", "backend"),
    [
        ({"backend": "python"}, ""),
        ({}, ""),
        ({"backend": "onnxruntime"}, "onnxruntime"),
        ({"platform": "onnxruntime_onnx"}, "onnxruntime_onnx"),
        ({"platform": "pytorch_libtorch"}, "pytorch"),
        ({"platform": "pytorch_libtorch", "runtime": "model.py"}, ""),
    ],
)
def test_who_else_serves_a_model(fields: dict[str, str], backend: str) -> None:
    assert other_backend(model_config_pb2.ModelConfig(**fields)) == backend


def test_a_configuration_of_another_name(tmp_path: Path) -> None:
    config = model_config_pb2.ModelConfig(name="one")
    assert find_other_name(config, tmp_path / "one") is None
    assert find_other_name(model_config_pb2.ModelConfig(), tmp_path / "one") is None
    wrong = find_other_name(config, tmp_path / "two")
    assert wrong is not None
    assert wrong[0] == "config.pbtxt says name: 'one', and the folder is 'two': a server takes no other name"


OBSTACLES = {
    "nothing": (FLOATS, {}, None),
    "another name": (FLOATS + 'name: "x"', {}, "config.pbtxt says name: 'x'"),
    "no version": (
        FLOATS + "version_policy { specific { versions: [3] } }",
        {},
        "none of its version folders is served",
    ),
    "a folder like a version": (
        FLOATS + "version_policy { latest { num_versions: 2 } }",
        {"3_old/model.py": b""},
        "folder '3_old' counts as version 3",
    ),
    "no file": (
        FLOATS + 'default_model_filename: "own.py"',
        {},
        "version 1 has no file own.py (default_model_filename)",
    ),
    "no file in another version": (
        FLOATS + "version_policy { all { } }",
        {"2/other.py": b""},
        "version 2 has no file model.py (Triton's default)",
    ),
    "another backend's": (FLOATS.replace('"python"', '"onnxruntime"'), {"2/model.onnx": b""}, None),
    "an ensemble": (TWICE, {}, None),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_keeps_a_server_from_loading_it(tmp_path: Path, sandbox: Sandbox, name: str) -> None:
    config, files, said = OBSTACLES[name]
    found = find_obstacle(deployed(write(tmp_path, "own", HELPER, config, files), sandbox))
    if said is None:
        assert found is None
    else:
        assert found is not None
        assert found[0].startswith(said)
        assert found[1]
