from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.record import record_beside
from envbuilder.errors import DeployError, IntegrityError
from tests.deployment.conftest import (
    CONFIG,
    DEPLOYED,
    MODEL,
    contents,
    refused,
    single_file_runtime,
    tree,
    write_archive,
)

LAYOUTS: tuple[str, ...] = ("model", "shared", "backend")


class Listener:
    """A reporter that remembers what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def step(self, text: str) -> None:
        raise AssertionError(text)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def task(self, text: str, total: int | None, unit: str = "bytes") -> Any:
        raise AssertionError(text)


# -- what is deployed --------------------------------------------------------------------------------------------


def test_every_version_gets_the_runtime(archive: Path, model: Path, repository: Path) -> None:
    (model / "12").mkdir()
    (model / "12" / "model.py").write_text(MODEL)
    (model / "labels").mkdir()
    (model / "labels" / "names.txt").write_text("a\n")
    deploy(archive, model, repository)
    assert sorted(path.parent.name for path in repository.rglob("torch_runtime.py")) == ["1", "12"]
    assert (repository / "net" / "labels" / "names.txt").read_text() == "a\n"


def test_a_plain_tar(tmp_path: Path, model: Path, repository: Path) -> None:
    archive = write_archive(tmp_path / "built", compression="")
    assert archive.suffix == ".tar"
    assert deploy(archive, model, repository).environment.name == archive.name


@pytest.mark.parametrize("layout", ["model", "shared"])
@pytest.mark.parametrize("inside", [False, True], ids=["from-outside", "in-the-repository"])
def test_a_deployment_of_the_runtime_as_one_file_is_brought_up_to_date(
    archive: Path, model: Path, repository: Path, layout: str, inside: bool
) -> None:
    first = deploy(archive, model, repository, DeployOptions(layout=layout))
    version = first.folder / "1"
    expected = contents(version)
    single_file_runtime(version, "torch_runtime.py")
    done = deploy(archive, first.folder if inside else model, repository, DeployOptions(layout=layout))
    assert (done.changed, done.removed) == (True, ())
    assert contents(version) == expected


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
def test_modules_of_another_runtime_do_not_stay(
    archive: Path, model: Path, repository: Path, layout: str
) -> None:
    done = deploy(archive, model, repository, DeployOptions(layout=layout))
    folder = (done.backend_folder or done.folder / "1") / "_torch_runtime"
    expected = contents(folder)
    (folder / "engine.py").write_text("# of an older one\n")
    (folder / "gone_since.py").write_text("")
    again = deploy(archive, done.folder, repository, DeployOptions(layout=layout))
    assert (again.changed, again.removed) == (True, ())
    assert contents(folder) == expected


def test_what_python_compiled_there_is_no_change(archive: Path, model: Path, repository: Path) -> None:
    done = deploy(archive, model, repository)
    compiled = done.folder / "1" / "_torch_runtime" / "__pycache__" / "engine.cpython-311.pyc"
    compiled.parent.mkdir()
    compiled.write_bytes(b"")
    assert not deploy(archive, model, repository).changed
    assert compiled.exists()


# -- again, and again with something else --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("unpacked", [False, True])
def test_twice_changes_nothing(
    archive: Path, model: Path, repository: Path, layout: str, unpacked: bool
) -> None:
    assert deploy(archive, model, repository, DeployOptions(layout=layout, unpacked=unpacked)).changed
    before = tree(repository.parent)

    again = deploy(archive, model, repository, DeployOptions(layout=layout, unpacked=unpacked))

    assert not again.changed
    assert again.lines()[0] == f"net: {repository / 'net'} (nothing to change)"
    assert tree(repository.parent) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_place(archive: Path, model: Path, layout: str) -> None:
    """The user's directory is inside the repository already."""
    repository = model.parent
    assert deploy(archive, model, repository, DeployOptions(layout=layout)).changed
    before = tree(repository.parent)
    assert not deploy(archive, model, repository, DeployOptions(layout=layout)).changed
    assert tree(repository.parent) == before


def test_from_layout_to_layout(archive: Path, model: Path, repository: Path) -> None:
    first = deploy(archive, model, repository)
    config = (repository / "net" / "config.pbtxt").read_text()
    for layout in ("shared", "backend", "shared"):
        deploy(archive, model, repository, DeployOptions(layout=layout))
    last = deploy(archive, model, repository)
    assert (repository / "net" / "config.pbtxt").read_text() == config
    assert first.environment == last.environment


@pytest.mark.parametrize("unpacked", [False, True])
def test_old_archives_are_listed_and_kept(
    tmp_path: Path, model: Path, repository: Path, unpacked: bool
) -> None:
    old = deploy(write_archive(tmp_path / "built"), model, repository, DeployOptions(unpacked=unpacked))
    before = old.environment.stat()
    new = deploy(
        write_archive(tmp_path / "built", torch="2.8.0"), model, repository, DeployOptions(unpacked=unpacked)
    )
    shared = (repository.parent / "environments" / old.environment.name,) if unpacked else ()
    assert new.old_archives == (old.environment, *shared)
    assert new.removed == ()
    assert old.environment.exists()
    if not unpacked:  # the same file, the same time: to a running server the same environment
        assert (old.environment.stat().st_ino, old.environment.stat().st_mtime_ns) == (
            before.st_ino,
            before.st_mtime_ns,
        )
    pruned = deploy(
        write_archive(tmp_path / "built", torch="2.8.0"),
        model,
        repository,
        DeployOptions(unpacked=unpacked, prune=True),
    )
    assert (pruned.changed, pruned.old_archives, pruned.removed) == (True, (), ())
    assert pruned.deleted == (old.environment, *shared)
    assert not any(path.exists() for path in pruned.deleted)
    assert new.environment.exists()


@pytest.mark.parametrize("unpacked", [False, True])
def test_shared_archives_are_old_when_no_model_names_them(
    tmp_path: Path, model: Path, repository: Path, unpacked: bool
) -> None:
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))

    def shared(archive: Path, name: str, *, prune: bool = False) -> Any:
        return deploy(
            archive,
            model,
            repository,
            DeployOptions(layout="shared", unpacked=unpacked, name=name, prune=prune),
        )

    old = shared(first, "one").environment
    shared(first, "two")
    assert shared(second, "one").old_archives == ()
    assert shared(second, "two").old_archives == (old,)
    assert old.exists()
    pruned = shared(second, "two", prune=True)
    assert (pruned.old_archives, pruned.deleted) == ((), (old,))
    assert pruned.lines()[2:] == [f"deleted: {old}"]
    assert not old.exists()
    assert not record_beside(old).exists()


def test_in_place_a_folder_that_looks_like_an_environment_is_the_users(archive: Path, model: Path) -> None:
    (model / "labels-0123456789ab").mkdir()
    (model / "labels-0123456789ab" / "names.txt").write_text("a\n")
    for _ in range(2):
        done = deploy(archive, model, model.parent)
        assert (done.removed, done.old_archives) == ((), ())
    assert (model / "labels-0123456789ab" / "names.txt").read_text() == "a\n"


def test_changed_weights(archive: Path, model: Path, repository: Path) -> None:
    weights = model / "1" / "model.pt"
    weights.write_bytes(b"\0" * 100)
    deploy(archive, model, repository)
    weights.write_bytes(b"\1" * 100)
    os.chmod(weights, 0o640)
    assert deploy(archive, model, repository).changed
    copy = repository / "net" / "1" / "model.pt"
    assert copy.read_bytes() == b"\1" * 100
    assert copy.stat().st_mode & 0o777 == 0o640
    assert copy.stat().st_mtime_ns == weights.stat().st_mtime_ns


def test_a_damaged_archive_in_the_repository_is_replaced(
    archive: Path, model: Path, repository: Path
) -> None:
    there = deploy(archive, model, repository).environment
    os.truncate(there, 10)
    assert deploy(archive, model, repository).changed
    assert there.read_bytes() == archive.read_bytes()
    shared = deploy(archive, model, repository, DeployOptions(layout="shared")).environment
    os.truncate(shared, 10)
    assert deploy(archive, model, repository, DeployOptions(layout="shared")).changed
    assert shared.read_bytes() == archive.read_bytes()


# -- models ------------------------------------------------------------------------------------------------------


def test_the_name_in_the_configuration_counts(archive: Path, model: Path, repository: Path) -> None:
    (model / "config.pbtxt").write_text(f'name: "resnet"\n{CONFIG}')
    assert deploy(archive, model, repository).folder == repository / "resnet"


def test_another_name(archive: Path, model: Path, repository: Path) -> None:
    (model / "config.pbtxt").write_text(f'name: "resnet"\n{CONFIG}')
    done = deploy(archive, model, repository, DeployOptions(name="candidate"))
    assert done.model == "candidate"
    assert (done.folder / "config.pbtxt").read_text().startswith('name: "candidate"\n')


def test_the_seeds_form(archive: Path, model: Path, repository: Path) -> None:
    (model / "config.pbtxt").write_text(CONFIG.replace("max_batch", 'platform: "pytorch"\nmax_batch'))
    listener = Listener()
    done = deploy(archive, model, repository, reporter=listener)
    assert (done.folder / "config.pbtxt").read_text() == DEPLOYED.replace(
        "ENVIRONMENT", f"$$TRITON_MODEL_DIRECTORY/{archive.name}"
    )
    assert listener.notes == ['platform: "pytorch" migrated to the Python backend: served by the runtime']


def test_a_plain_python_model_keeps_its_own_code(archive: Path, model: Path, repository: Path) -> None:
    (model / "1" / "model.py").write_text("class TritonPythonModel: pass\n")
    (model / "config.pbtxt").write_text('backend: "python"\n')
    done = deploy(archive, model, repository)
    assert sorted(os.listdir(done.folder / "1")) == ["model.py"]
    assert "default_model_filename" not in (done.folder / "config.pbtxt").read_text()
    assert archive.name in (done.folder / "config.pbtxt").read_text()


def test_links_are_followed(archive: Path, model: Path, repository: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.pt").write_bytes(b"weights")
    (model / "1" / "model.pt").symlink_to(weights / "model.pt")
    (model / "1" / "more").symlink_to(weights)
    done = deploy(archive, model, repository)
    for path in ("model.pt", "more/model.pt"):
        assert (done.folder / "1" / path).read_bytes() == b"weights"
        assert not (done.folder / "1" / path).is_symlink()
    assert not (done.folder / "1" / "more").is_symlink()


# -- bad input ---------------------------------------------------------------------------------------------------


def test_no_model_directory(archive: Path, repository: Path, tmp_path: Path) -> None:
    error = refused(DeployError, archive, tmp_path / "none", repository=repository)
    assert (error.message, error.exit_code) == (f"model directory {tmp_path / 'none'} does not exist", 8)
    assert not repository.exists()


def test_a_file_for_a_model_directory(archive: Path, repository: Path) -> None:
    error = refused(DeployError, archive, archive, repository=repository)
    assert error.message == f"{archive} is not a directory"


def test_no_configuration(archive: Path, model: Path, repository: Path) -> None:
    (model / "config.pbtxt").unlink()
    error = refused(DeployError, archive, model, repository=repository)
    assert (error.message, error.exit_code) == (f"{model} has no config.pbtxt", 8)


def test_a_model_that_completes_its_configuration_itself(
    archive: Path, model: Path, repository: Path
) -> None:
    (model / "config.pbtxt").unlink()
    (model / "1" / "model.py").write_text("class TritonPythonModel:\n    pass\n")
    deployment = deploy(archive, model, repository)
    text = (deployment.folder / "config.pbtxt").read_text()
    assert text.startswith('backend: "python"\n')
    assert "EXECUTION_ENV_PATH" in text
    assert not (model / "config.pbtxt").exists()


def test_a_configuration_that_does_not_parse(archive: Path, model: Path, repository: Path) -> None:
    (model / "config.pbtxt").write_text('name: "n"\nbackend "python"\n')
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message.startswith(f"{model / 'config.pbtxt'}, line 2: ")


@pytest.mark.parametrize("name", ["../x", "", "a/b"])
def test_names_that_lead_elsewhere(archive: Path, model: Path, repository: Path, name: str) -> None:
    error = refused(DeployError, archive, model, repository=repository, name=name)
    assert error.message.startswith(f"name: {name!r} is not a valid model name: ")
    if name:
        (model / "config.pbtxt").write_text(f'name: "{name}"\n{CONFIG}')
        error = refused(DeployError, archive, model, repository=repository)
        assert error.message.startswith(f"{model / 'config.pbtxt'}: {name!r} is not a valid model name: ")


def test_everything_that_is_wrong_is_told_at_once(archive: Path, model: Path, repository: Path) -> None:
    (model / "config.pbtxt").write_text("instance_group { kind: KIND_GPU }\n")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message.splitlines() == [
        "config.pbtxt has no input: the runtime needs each one's dims",
        "config.pbtxt has no output: the runtime needs each one's dims",
        "instance_group asks for KIND_GPU, and the archive's torch is a CPU build",
    ]


def test_archives_that_are_none(model: Path, repository: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.tar.gz"
    assert (
        refused(DeployError, missing, model, repository=repository).message
        == f"archive {missing} does not exist"
    )
    assert (
        refused(DeployError, tmp_path, model, repository=repository).message
        == f"{tmp_path} is a folder, not a file"
    )
    compressed = write_archive(tmp_path / "built", compression="xz")
    assert refused(DeployError, compressed, model, repository=repository).message == (
        f"{compressed} is neither a tar archive nor one compressed by gzip: Triton extracts no other"
    )


def test_an_archive_whose_name_lies(archive: Path, model: Path, repository: Path) -> None:
    with archive.open("ab") as file:
        file.write(b"\0")
    error = refused(IntegrityError, archive, model, repository=repository)
    assert f": its name says {archive.name[5:17]}, but its sha256 begins with " in error.message
    assert error.exit_code == 5


def test_the_manifest_inside_counts_where_none_lies_beside(
    archive: Path, model: Path, repository: Path
) -> None:
    renamed = archive.rename(archive.with_name("mine.tar.gz"))
    done = deploy(renamed, model, repository)
    assert done.environment.name == archive.name


def test_an_archive_without_a_manifest(model: Path, repository: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "env.tar.gz"
    with tarfile.open(foreign, "w:gz") as tar:
        tar.add(model / "1" / "model.py", "bin/activate")
    error = refused(DeployError, foreign, model, repository=repository)
    assert error.message == (
        f"{foreign} has no manifest: neither env.json beside it nor share/envbuilder/manifest.json inside"
    )
    os.truncate(foreign, 60)
    assert refused(IntegrityError, foreign, model, repository=repository).message.startswith(
        f"{foreign} cannot be read: "
    )


def test_members_that_lead_out_of_the_environment(model: Path, repository: Path, tmp_path: Path) -> None:
    def escape(tar: tarfile.TarFile) -> None:
        tar.addfile(tarfile.TarInfo("../out"))

    archive = write_archive(tmp_path / "built", members=escape)
    error = refused(IntegrityError, archive, model, repository=repository, unpacked=True)
    assert error.message == f"{archive} cannot be extracted: parent: ../out"
    assert not (repository / "net").exists()


def test_a_stub_of_another_python(tmp_path: Path, model: Path, repository: Path) -> None:
    archive = write_archive(tmp_path / "built", python="3.11")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message == "the archive holds Python 3.11, and the stub of Triton 25.06 is linked to 3.12"


def test_versions_of_two_kinds(archive: Path, model: Path, repository: Path) -> None:
    (model / "2").mkdir()
    (model / "2" / "model.py").write_text("class TritonPythonModel: pass\n")
    with (model / "config.pbtxt").open("a") as file:
        file.write("version_policy { all { } }\n")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message == f"{model}: some versions have their own TritonPythonModel and some do not"


def test_folders_in_each_other(archive: Path, model: Path, repository: Path) -> None:
    inside = model / "repository"
    assert refused(DeployError, archive, model, repository=inside).message == (
        f"repository {inside} lies inside the model directory {model}"
    )
    envs = repository / "envs"
    error = refused(DeployError, archive, model, repository=repository, layout="shared", shared=envs)
    assert error.message == (
        f"the shared folder {envs} is inside the repository {repository}: Triton would treat it as a model"
    )
    error = refused(DeployError, archive, model, repository=repository, layout="backend", backends=repository)
    assert error.message.startswith(f"the folder of backends {repository} is inside the repository")


def test_files_that_cannot_be_copied(archive: Path, model: Path, repository: Path) -> None:
    link = model / "1" / "link"
    link.symlink_to("nowhere")
    assert (
        refused(DeployError, archive, model, repository=repository).message == f"{link} is a dangling symlink"
    )
    link.unlink()
    link.symlink_to(model)
    assert refused(DeployError, archive, model, repository=repository).message == (
        f"{link} is a symlink to a folder that contains it"
    )
    link.unlink()
    os.mkfifo(link)
    assert refused(DeployError, archive, model, repository=repository).message == (
        f"{link} is neither a file nor a folder"
    )


def test_a_path_that_no_call_takes(archive: Path, model: Path, repository: Path) -> None:
    """Folders in each other until their path is longer than the kernel's PATH_MAX."""
    name, here = "d" * 200, os.getcwd()
    os.chdir(model / "1")
    try:
        for _ in range(25):
            os.mkdir(name)
            os.chdir(name)
        with pytest.raises(DeployError) as caught:
            deploy(archive, model, repository)
        assert caught.value.message.startswith(f"{model / '1' / name}")
        assert caught.value.message.endswith(": File name too long")
        assert not repository.exists()
    finally:
        for _ in range(25):  # pytest cannot
            os.chdir("..")
            os.rmdir(name)
        os.chdir(here)


def test_a_repository_that_cannot_be(archive: Path, model: Path, repository: Path) -> None:
    repository.write_text("a file\n")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message == f"{repository} cannot be used as a folder: File exists"
