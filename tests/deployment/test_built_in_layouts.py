"""Where each built-in layout puts the environment, and what the model's configuration says of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from envbuilder.deployment.built_in_layouts import BackendLayout, ModelLayout, SharedLayout
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError
from envbuilder.util.resources import runtime_file
from tests.deployment.conftest import (
    CONFIG,
    DEPLOYED,
    MODEL,
    contents,
    make_manifest,
    refused,
    single_file_runtime,
    write_archive,
)


def test_model_layout(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository)

    target = repository / "net"
    name = archive.name
    path = f"$$TRITON_MODEL_DIRECTORY/{name}"
    assert (target / "config.pbtxt").read_text() == DEPLOYED.replace("ENVIRONMENT", path)
    assert (target / "1" / "torch_runtime.py").read_bytes() == runtime_file().read_bytes()
    assert (target / "1" / "model.py").read_text() == MODEL
    assert (target / name).read_bytes() == archive.read_bytes()
    assert (done.model, done.folder, done.environment) == ("net", target, target / name)
    assert (done.environment_path, done.release, done.backend_folder) == (path, "25.06", None)
    assert (done.changed, done.removed, done.old_archives, done.findings) == (True, (), (), ())
    assert done.lines() == [f"net: {target}", f"environment: {path}"]
    assert sorted(os.listdir(repository.parent)) == ["built", "models", "repository"]
    assert (model / "config.pbtxt").read_text() == CONFIG


def test_model_layout_unpacked(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository, DeployOptions(unpacked=True))
    name = archive.name.removesuffix(".tar.gz")
    assert done.environment == repository / "net" / name
    assert done.environment_path == f"$$TRITON_MODEL_DIRECTORY/{name}"
    assert (done.environment / "bin" / "activate").read_bytes() == b"# nothing\n"
    assert [finding.id for finding in done.findings] == ["polled-environment"]
    assert done.lines()[2].startswith("warning: the environment's folder is inside the model's")
    assert done.lines()[3] == "  hint: use the layout shared, which keeps it outside"


def test_an_unpacked_folder_is_no_version(tmp_path: Path, model: Path, repository: Path) -> None:
    archive = write_archive(tmp_path / "built", recipe="3d-net")
    done = deploy(archive, model, repository, DeployOptions(unpacked=True))
    assert done.environment.name == f"env-{archive.name.removesuffix('.tar.gz')}"


def test_shared_layout(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository, DeployOptions(layout="shared"))
    shared = repository.parent / "environments"
    assert done.environment == shared / archive.name
    assert done.environment.read_bytes() == archive.read_bytes()
    assert done.environment_path == f"{shared}/{archive.name}"
    assert sorted(os.listdir(repository / "net")) == ["1", "config.pbtxt"]
    assert sorted(os.listdir(repository.parent)) == ["built", "environments", "models", "repository"]
    other = deploy(archive, model, repository, DeployOptions(layout="shared", name="other"))
    assert other.changed
    assert other.environment == done.environment


def test_shared_layout_seen_from_a_container(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(
        archive,
        model,
        repository,
        DeployOptions(layout="shared", shared=archive.parent, shared_as="/srv/envs/"),
    )
    assert done.environment == archive
    assert done.environment_path == f"/srv/envs/{archive.name}"


def test_backend_layout(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository, DeployOptions(layout="backend"))
    backend = repository.parent / "backends" / "torch-tiny"
    assert (done.backend_folder, done.environment, done.environment_path) == (
        backend,
        backend / archive.name,
        None,
    )
    assert (backend / "model.py").read_bytes() == runtime_file().read_bytes()
    assert os.readlink(backend / "pb_exec_env_model.py.tar.gz") == archive.name
    config = (repository / "net" / "config.pbtxt").read_text()
    assert config == CONFIG.replace(
        'backend: "python"   # the backend\n',
        'backend: "torch-tiny"   # the backend\nruntime: "model.py"\ndefault_model_filename: "model.py"\n',
    )
    assert sorted(os.listdir(repository / "net" / "1")) == ["model.py"]


def test_a_backend_of_the_runtime_as_one_file_is_brought_up_to_date(
    archive: Path, model: Path, repository: Path
) -> None:
    backend = deploy(archive, model, repository, DeployOptions(layout="backend")).backend_folder
    assert backend is not None
    expected = contents(backend)
    single_file_runtime(backend, "model.py")
    assert deploy(archive, model, repository, DeployOptions(layout="backend")).changed
    assert contents(backend) == expected


def test_a_model_that_a_backend_serves_from_now_on_keeps_no_runtime(
    archive: Path, model: Path, repository: Path
) -> None:
    done = deploy(archive, model, repository)
    deploy(archive, done.folder, repository, DeployOptions(layout="backend"))
    assert sorted(os.listdir(done.folder / "1")) == ["model.py"]


def test_backend_layout_unpacked_with_a_name_and_a_folder(
    archive: Path, model: Path, repository: Path
) -> None:
    folder = repository.parent / "opt"
    done = deploy(
        archive,
        model,
        repository,
        DeployOptions(layout="backend", backends=folder, backend="ours", unpacked=True),
    )
    link = folder / "ours" / "pb_exec_env_model.py.tar.gz"
    assert link.resolve() == done.environment == folder / "ours" / archive.name.removesuffix(".tar.gz")
    assert (link / "bin" / "activate").is_file()


def test_another_unpacked_environment_for_a_backend(tmp_path: Path, model: Path, repository: Path) -> None:
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    old = deploy(first, model, repository, DeployOptions(layout="backend", unpacked=True))
    new = deploy(second, model, repository, DeployOptions(layout="backend", unpacked=True))
    assert new.old_archives == (old.environment,)
    assert (old.environment / "bin" / "activate").is_file()


def test_another_archive_for_a_backend(tmp_path: Path, model: Path, repository: Path) -> None:
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    old = deploy(first, model, repository, DeployOptions(layout="backend"))
    new = deploy(second, model, repository, DeployOptions(layout="backend"))
    assert new.old_archives == (old.environment,)
    assert os.readlink(new.environment.parent / "pb_exec_env_model.py.tar.gz") == second.name
    assert new.lines()[1:] == [
        f"environment: {new.environment}, the default of backend 'torch-tiny'",
        f"no longer used by any model: {old.environment} (--prune deletes it)",
    ]
    assert old.environment.exists()
    assert deploy(second, model, repository, DeployOptions(layout="backend", prune=True)).old_archives == ()
    assert not old.environment.exists()


def test_backends_that_cannot_be(archive: Path, model: Path, repository: Path, tmp_path: Path) -> None:
    def backend_error(archive: Path = archive, **kwargs: Any) -> str:
        return refused(DeployError, archive, model, repository=repository, layout="backend", **kwargs).message

    assert backend_error(backend="python") == "backend: 'python' is the name of one of Triton's own backends"
    assert backend_error(backend="../x").startswith("backend: '../x' is not a valid model name")
    early = write_archive(tmp_path / "built", release="23.12", python="3.10")
    assert backend_error(early) == (
        "Triton 23.12 has no default environment for python-based backends: 24.01 is the first"
    )
    foreign = repository.parent / "backends" / "torch-tiny"
    foreign.mkdir(parents=True)
    (foreign / "libtriton_torch-tiny.so").touch()
    assert backend_error() == f"{foreign} contains a different backend: libtriton_torch-tiny.so"
    (model / "1" / "model.py").write_text("class TritonPythonModel: pass\n")
    assert backend_error() == (
        f"{model} has its own TritonPythonModel, but a backend has one for all of its models"
    )


def test_a_shared_folder_that_no_server_finds(archive: Path, model: Path, repository: Path) -> None:
    error = refused(
        DeployError,
        archive,
        model,
        repository=repository,
        layout="shared",
        shared_as="$$TRITON_MODEL_DIRECTORY/..",
    )
    assert error.message == (
        f"'$$TRITON_MODEL_DIRECTORY/../{archive.name}' is not a path where a server finds an environment"
    )


def test_the_folder_that_each_uses_beside_the_repository(repository: Path, tmp_path: Path) -> None:
    manifest = make_manifest()
    named = DeployOptions(pool=tmp_path / "p", shared=tmp_path / "s", backends=tmp_path / "b", unpacked=True)
    assert ModelLayout().folder(repository, DeployOptions(), manifest) is None
    unpacked = DeployOptions(unpacked=True)
    assert ModelLayout().folder(repository, unpacked, manifest) == tmp_path / "environments"
    assert SharedLayout().folder(repository, unpacked, manifest) == tmp_path / "environments"
    assert BackendLayout().folder(repository, unpacked, manifest) == tmp_path / "backends"
    for layout, folder in ((ModelLayout(), "p"), (SharedLayout(), "s"), (BackendLayout(), "b")):
        assert layout.folder(repository, named, manifest) == tmp_path / folder
