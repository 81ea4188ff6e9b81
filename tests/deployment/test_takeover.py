"""What a model has and no deployment put there is replaced and deleted only with ``--replace``, and said."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuilder.deployment.config import read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.record import read_record, record_beside
from envbuilder.errors import DeployError
from tests.deployment.conftest import CONFIG, refused, tree, write_archive

HINT = "replace it with --replace"
LAYOUTS = ("model", "shared", "backend")


def with_environment(folder: Path, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    parameter = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{escaped}" }} }}'
    (folder / "config.pbtxt").write_text(f"{CONFIG}{parameter}\n")


def environment_of(folder: Path) -> str | None:
    return read_config(folder).environment


FOREIGN = {
    "an absolute path": "/opt/conda/envs/theirs.tar.gz",
    "in the model's folder": "$$TRITON_MODEL_DIRECTORY/theirs.tar.gz",
    "called like ours": "/srv/environments/tiny-0123456789ab.tar.gz",
    "called like ours, in the model's folder": "$$TRITON_MODEL_DIRECTORY/tiny-0123456789ab.tar.gz",
    "leading out": "$$TRITON_MODEL_DIRECTORY/../../../etc",
    "a relative path": "environments/theirs",
    "the root": "/",
    "a name that no file can have": "/" + "x" * 5000,
    "escape codes": "/opt/\x1b[31mtheirs\nerror: ok",
    "a NUL": "/opt/the\\000irs",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", FOREIGN)
def test_an_environment_of_somebody_elses(
    archive: Path, model: Path, repository: Path, layout: Any, kind: str
) -> None:
    value = FOREIGN[kind]
    with_environment(model, value)
    if kind == "a NUL":
        text = (model / "config.pbtxt").read_text()
        (model / "config.pbtxt").write_text(text.replace("\\\\000", "\\000"))
        value = "/opt/the\0irs"
    error = refused(DeployError, archive, model, repository=repository, layout=layout)
    assert re.fullmatch(
        rf"{re.escape(str(model))}/config\.pbtxt has an EXECUTION_ENV_PATH that was not written by a deployment: "
        r"'.*'…?",
        error.message,
    )
    assert error.message.isprintable()
    assert (error.hint, error.exit_code) == (HINT, 8)

    done = deploy(archive, model, repository, DeployOptions(layout=layout, replace=True))
    assert done.replaced == value
    assert done.lines()[2].startswith("replaced: the EXECUTION_ENV_PATH '")
    assert environment_of(done.folder) == done.environment_path
    assert environment_of(model) == value


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_environment_of_somebody_elses_in_the_repository(
    archive: Path, model: Path, repository: Path, layout: Any
) -> None:
    """The model's folder in the repository has one, and the model directory has none."""
    target = repository / "net"
    shutil.copytree(model, target)
    with_environment(target, "$$TRITON_MODEL_DIRECTORY/theirs/env.tar.gz")
    (target / "theirs").mkdir()
    (target / "theirs" / "env.tar.gz").write_text("theirs")
    before = tree(repository)
    error = refused(DeployError, archive, model, repository=repository, layout=layout)
    assert error.message == (
        f"{target / 'config.pbtxt'} has an EXECUTION_ENV_PATH that was not written by a deployment: "
        "'$$TRITON_MODEL_DIRECTORY/theirs/env.tar.gz'"
    )
    assert tree(repository) == before
    done = deploy(archive, model, repository, DeployOptions(layout=layout, replace=True, prune=True))
    assert done.replaced == "$$TRITON_MODEL_DIRECTORY/theirs/env.tar.gz"
    # It is theirs: it is not used any more, and it is not deleted.
    assert (target / "theirs" / "env.tar.gz").read_text() == "theirs"
    assert (done.removed, done.deleted) == ((), ())


@pytest.mark.parametrize("before", LAYOUTS)
@pytest.mark.parametrize("after", LAYOUTS)
@pytest.mark.parametrize("source", ["model directory", "deployed folder", "other repository"])
def test_what_a_deployment_put_there_is_replaced(
    tmp_path: Path, model: Path, repository: Path, before: Any, after: Any, source: str
) -> None:
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    made = deploy(first, model, repository, DeployOptions(layout=before))
    start = model if source == "model directory" else made.folder
    target = tmp_path / "promoted" if source == "other repository" else repository
    done = deploy(second, start, target, DeployOptions(layout=after))
    assert (done.replaced, done.changed) == (None, True)
    assert environment_of(done.folder) == done.environment_path


@pytest.mark.parametrize("unpacked", [False, True])
def test_seen_under_another_path(tmp_path: Path, model: Path, repository: Path, unpacked: bool) -> None:
    """A container's path is known by the name at its end, and the folder that it is of."""
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    shared = tmp_path / "there"

    def place(archive: Path, **options: Any) -> Deployment:
        return deploy(archive, model, repository, DeployOptions(unpacked=unpacked, shared=shared, **options))

    place(first, layout="shared", shared_as="/envs")
    assert place(second, layout="shared", shared_as="/envs").replaced is None
    assert place(first, layout="model").replaced is None


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_build_made_is_replaced(tmp_path: Path, model: Path, repository: Path, unpacked: bool) -> None:
    """Its output is the shared folder: no record lies there, but a manifest does."""
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    for archive in (first, second):
        done = deploy(
            archive,
            model,
            repository,
            DeployOptions(layout="shared", shared=tmp_path / "built", unpacked=unpacked),
        )
    assert done.replaced is None
    assert done.environment_path is not None
    assert done.environment_path.startswith(str(tmp_path / "built" / second.name.removesuffix(".tar.gz")))


def test_files_of_a_model_that_somebody_else_made(archive: Path, model: Path, repository: Path) -> None:
    target = repository / "net"
    (target / "7").mkdir(parents=True)
    (target / "config.pbtxt").write_text(CONFIG)
    (target / "7" / "model.pt").write_text("weights")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message == (
        f"{target} was not deployed by envbuilder, and contains files that the model directory does not: '7/model.pt'"
    )
    assert (
        error.hint
        == "deploy under another --name, or use --replace, which deletes files that the model directory lacks and "
        "overwrites the others"
    )
    (target / "7" / "labels.txt").write_text("a")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message.endswith("does not: '7/labels.txt' and 1 other file")
    done = deploy(archive, model, repository, DeployOptions(replace=True))
    assert done.removed == ("7/labels.txt", "7/model.pt")
    assert not (target / "7").exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_the_same_names_that_somebody_else_made(
    archive: Path, model: Path, repository: Path, layout: Any
) -> None:
    target = shutil.copytree(model, repository / "net")
    (target / "1" / "model.py").write_text("# theirs\n")
    error = refused(DeployError, archive, model, repository=repository, layout=layout)
    assert error.message == (
        f"{target} was not deployed by envbuilder, and contains files with other content: '1/model.py'"
    )
    assert "--replace" in (error.hint or "")
    refused(DeployError, archive, model, repository=repository, layout=layout, dry_run=True)
    dry = deploy(archive, model, repository, DeployOptions(layout=layout, replace=True, dry_run=True))
    assert "would be replaced: 1/model.py" in dry.lines()
    done = deploy(archive, model, repository, DeployOptions(layout=layout, replace=True))
    assert done.overwritten == dry.overwritten == ("1/model.py",)
    assert "replaced: 1/model.py" in done.lines()


def test_a_configuration_that_somebody_tuned(archive: Path, model: Path, repository: Path) -> None:
    """What a deployment writes into it is no loss; what its owner wrote is."""
    target = shutil.copytree(model, repository / "net")
    (target / "config.pbtxt").write_text(f"{CONFIG}# tuned\n")
    error = refused(DeployError, archive, model, repository=repository)
    assert error.message.endswith("files with other content: 'config.pbtxt'")
    (target / "config.pbtxt").write_text(CONFIG.replace('"python"', '"pytorch"'))
    assert deploy(archive, model, repository).overwritten == ()


def test_in_place_nothing_is_somebody_elses(archive: Path, model: Path) -> None:
    done = deploy(archive, model, model.parent)
    assert (done.overwritten, done.removed, done.changed) == ((), (), True)


def test_a_completed_copy_of_the_model_in_place(archive: Path, model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "completed" / "net")
    (copy / "config.pbtxt").write_text(f"{CONFIG}instance_group [ {{ kind: KIND_CPU }} ]\n")
    refused(DeployError, archive, copy, repository=model.parent)
    assert deploy(archive, copy, model.parent, DeployOptions(original=model)).changed


@pytest.mark.parametrize("recorded", [False, True])
def test_a_configuration_by_hand_that_names_an_archive_of_builds(
    archive: Path, model: Path, repository: Path, tmp_path: Path, recorded: bool
) -> None:
    """Nor is it enough that a deployment into another repository put the archive there."""
    shared = archive.parent
    if recorded:
        shared = deploy(
            archive, model, tmp_path / "other" / "repository", DeployOptions(layout="shared")
        ).environment.parent
    target = shutil.copytree(model, repository / "net")
    with_environment(target, str(shared / archive.name))
    (target / "notes.txt").write_text("theirs")
    error = refused(DeployError, archive, model, repository=repository, layout="shared", shared=shared)
    assert "'notes.txt'" in error.message
    done = deploy(archive, model, repository, DeployOptions(layout="shared", shared=shared, replace=True))
    assert (done.removed, done.replaced) == (("notes.txt",), None)


@pytest.mark.parametrize(
    "options",
    [
        {"layout": "shared", "shared": "built"},
        {"layout": "image", "image": f"oci://host/a@sha256:{'ab' * 32}", "mounted_at": "/envs/net"},
    ],
)
def test_deployed_again_where_the_environment_is_somebody_elses(
    archive: Path, model: Path, repository: Path, tmp_path: Path, options: Any
) -> None:
    """The environment's record cannot tell that a deployment made the model."""
    if "shared" in options:
        options = {**options, "shared": archive.parent}
    (model / "notes.txt").write_text("ours")
    deploy(archive, model, repository, DeployOptions(**options))
    assert not deploy(archive, model, repository, DeployOptions(**options)).changed
    (model / "notes.txt").unlink()
    (model / "1" / "model.py").write_text("# changed\n")
    done = deploy(archive, model, repository, DeployOptions(**options))
    assert (done.removed, done.overwritten) == (("notes.txt",), ())


@pytest.mark.parametrize("link", [False, True])
def test_a_file_where_the_model_belongs(archive: Path, model: Path, repository: Path, link: bool) -> None:
    repository.mkdir()
    if link:
        (repository / "net").symlink_to("nothing")
    else:
        (repository / "net").write_text("theirs")
    for dry_run in (True, False):
        error = refused(DeployError, archive, model, repository=repository, replace=True, dry_run=dry_run)
        what = "is a link to nothing" if link else "is not a folder"
        assert error.message == f"{repository / 'net'} {what}: a model's folder belongs there"
        assert (error.hint or "").startswith("move it away")
    assert os.path.lexists(repository / "net")


@pytest.mark.parametrize("config", [None, "not ours {"])
def test_files_of_a_folder_that_is_no_model(
    archive: Path, model: Path, repository: Path, config: str | None
) -> None:
    target = repository / "net"
    target.mkdir(parents=True)
    (target / "notes.txt").write_text("theirs")
    if config is not None:
        (target / "config.pbtxt").write_text(config)
    assert "'notes.txt'" in refused(DeployError, archive, model, repository=repository).message
    assert deploy(archive, model, repository, DeployOptions(replace=True)).removed == ("notes.txt",)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_of_a_deployed_model_go_as_before(
    archive: Path, model: Path, repository: Path, layout: Any
) -> None:
    (model / "notes.txt").write_text("ours")
    deploy(archive, model, repository, DeployOptions(layout=layout))
    (model / "notes.txt").unlink()
    assert deploy(archive, model, repository, DeployOptions(layout=layout)).removed == ("notes.txt",)


# -- what is in the way of an environment ------------------------------------------------------------------------


def in_the_way(path: Path) -> str:
    return f"{path} already exists with different content, and was not written by a deployment"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_something_else_has_the_environments_name(
    archive: Path, model: Path, repository: Path, layout: Any, unpacked: bool, what: str
) -> None:
    clean = deploy(archive, model, repository, DeployOptions(layout=layout, unpacked=unpacked))
    place = clean.environment
    for folder in ("repository", "environments", "backends"):
        shutil.rmtree(repository.parent / folder, ignore_errors=True)
    place.parent.mkdir(parents=True)
    if layout == "model":
        (place.parent / "config.pbtxt").write_text(CONFIG)
    if what == "file":
        place.write_text("theirs")
    elif what == "folder":
        (place / "bin").mkdir(parents=True)
        (place / "bin" / "activate").write_text("theirs")
    else:
        place.symlink_to(archive)
    error = refused(DeployError, archive, model, repository=repository, layout=layout, unpacked=unpacked)
    assert error.message == in_the_way(place)


@pytest.mark.parametrize("layout", ["model", "shared"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_the_same_environment_of_somebody_elses_is_used_and_left_alone(
    archive: Path, model: Path, repository: Path, layout: Any, unpacked: bool, tmp_path: Path
) -> None:
    place = deploy(archive, model, repository, DeployOptions(layout=layout, unpacked=unpacked)).environment
    record_beside(place).unlink()
    before = place.stat()
    done = deploy(archive, model, repository, DeployOptions(layout=layout, unpacked=unpacked))
    assert place.stat().st_ino == before.st_ino or place.is_dir()
    assert read_record(place) is None
    other = write_archive(tmp_path / "built", torch="2.8.0")
    done = deploy(
        other, model, repository, DeployOptions(layout=layout, unpacked=unpacked, prune=True, replace=True)
    )
    assert place not in done.deleted
    assert place.exists()


def test_a_record_that_is_in_the_way_is_nobodys(archive: Path, model: Path, repository: Path) -> None:
    """A deployment that was killed left it: it is a record of nothing."""
    done = deploy(archive, model, repository, DeployOptions(layout="shared"))
    text = record_beside(done.environment).read_bytes()
    done.environment.unlink()
    other = record_beside(done.environment.with_name("gone-0123456789ab.tar.gz"))
    other.write_bytes(
        text.replace(archive.name.encode(), b"gone-0123456789ab.tar.gz").replace(
            archive.name[5:17].encode(), b"0123456789ab"
        )
    )
    assert read_record(other.with_name("gone-0123456789ab.tar.gz")) is not None
    deploy(archive, model, repository, DeployOptions(layout="shared"))
    assert sorted(os.listdir(done.environment.parent)) == [archive.name, record_beside(archive).name]
    assert record_beside(done.environment).read_bytes() == text


def backend_model(folder: Path, write: Callable[[Path], object]) -> Path:
    folder.mkdir(parents=True)
    write(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("model.py", lambda folder: (folder / "model.py").write_text("theirs")),
        (
            "pb_exec_env_model.py.tar.gz",
            lambda folder: (folder / "pb_exec_env_model.py.tar.gz").write_text("theirs"),
        ),
        ("_torch_runtime/x.py", lambda folder: _write(folder / "_torch_runtime" / "x.py")),
    ],
)
def test_a_backend_of_somebody_elses(
    archive: Path, model: Path, repository: Path, name: str, write: Callable[[Path], object]
) -> None:
    folder = backend_model(repository.parent / "backends" / "torch-tiny", write)
    error = refused(
        DeployError, archive, model, repository=repository, layout="backend", replace=True, prune=True
    )
    assert error.message == f"{folder} contains a different backend: {name}"


def _write(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("theirs")
