"""What ``--prune`` deletes, and all that it must never delete."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.prune import Kept
from envbuilder.deployment.record import read_record, record_beside
from envbuilder.errors import DeployError
from tests.deployment.conftest import CONFIG, tree, write_archive

HINT = "the environments it uses cannot be determined, so nothing was deployed or deleted: fix it, or omit --prune"


@pytest.fixture
def archives(tmp_path: Path) -> tuple[Path, Path]:
    """Two archives as ``build`` puts them into its default output."""
    old, new = (write_archive(tmp_path / "envs", torch=torch) for torch in ("2.7.1", "2.8.0"))
    return old, new


@pytest.fixture
def place(tmp_path: Path, model: Path, repository: Path) -> Callable[..., Deployment]:
    def call(archive: Path, *, into: str = repository.name, **options: Any) -> Deployment:
        known = {"layout": "shared", **options}
        return deploy(archive, model, tmp_path / into, DeployOptions(**known))

    return call


Place = Callable[..., Deployment]


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def name_environment(folder: Path, value: str, config: str = "config.pbtxt") -> Path:
    """Make *folder* a model that somebody wrote by hand, with the environment *value*."""
    path = folder / config
    path.parent.mkdir(parents=True, exist_ok=True)
    parameter = f'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{value}" }} }}'
    path.write_text(f'backend: "python"\n{parameter}\n')
    return path


def test_the_default_folder_is_not_the_output_of_build(
    archives: tuple[Path, Path], place: Place, tmp_path: Path
) -> None:
    before = tree(tmp_path / "envs")
    for archive in archives:
        done = place(archive, prune=True)
        assert done.environment.parent == tmp_path / "environments"
    assert tree(tmp_path / "envs") == before
    assert done.deleted == (tmp_path / "environments" / archives[0].name,)
    assert names(tmp_path / "environments") == [archives[1].name, record_beside(archives[1]).name]


@pytest.mark.parametrize("unpacked", [False, True])
def test_what_build_made_is_never_deleted(
    archives: tuple[Path, Path], place: Place, tmp_path: Path, unpacked: bool
) -> None:
    """Its output is the shared folder itself: archives lie there that no deployment put there."""
    envs = tmp_path / "envs"
    built = names(envs)
    for archive in (*archives, archives[0], archives[1]):
        place(archive, shared=envs, prune=True, unpacked=unpacked)
        assert set(names(envs)) >= set(built)
    assert [read_record(archive) for archive in archives] == [None, None]


def test_what_lies_beside_a_builds_manifest_is_kept(archives: tuple[Path, Path], place: Place) -> None:
    """A build wrote into the folder afterwards what a deployment had put there before."""
    old = place(archives[0]).environment
    manifest = old.with_name(f"{old.name.removesuffix('.tar.gz')}.json")
    manifest.write_text("{}")
    done = place(archives[1], prune=True)
    assert done.kept == (Kept(environment=old, reason=f"a build's manifest is next to it: {manifest.name}"),)
    assert done.lines()[2] == f"kept: {old} (a build's manifest is next to it: {manifest.name})"
    assert old.exists()


def test_the_argument_is_kept(archives: tuple[Path, Path], place: Place) -> None:
    """What is deployed into the model's folder is an archive that an earlier deployment put into the shared one."""
    old = place(archives[0], into="first").environment
    place(archives[1], into="first")
    done = place(old, layout="model", unpacked=True, prune=True)
    assert done.kept == (Kept(environment=old, reason="it is being deployed now"),)
    assert done.deleted == ()
    assert old.exists()


def test_what_another_repository_uses_is_kept(
    archives: tuple[Path, Path], place: Place, tmp_path: Path
) -> None:
    old = place(archives[0], into="first").environment
    place(archives[0], into="second")
    record = read_record(old)
    assert record is not None
    assert record.repositories == (str(tmp_path / "first"), str(tmp_path / "second"))
    assert place(archives[1], into="first", prune=True).deleted == ()
    assert old.exists()
    # The first repository uses it no longer, and its record says so.
    assert read_record(old) == dataclasses.replace(record, repositories=(str(tmp_path / "second"),))
    assert place(archives[1], into="second", prune=True).deleted == (old,)
    assert not old.exists()
    assert not record_beside(old).exists()


@pytest.mark.parametrize("gone", ["missing", "empty", "a file"])
def test_a_recorded_repository_without_models_may_be_unmounted(
    archives: tuple[Path, Path], place: Place, tmp_path: Path, gone: str
) -> None:
    old = place(archives[0], into="first").environment
    place(archives[0], into="second")
    shutil.rmtree(tmp_path / "first")
    if gone != "missing":
        (tmp_path / "first").mkdir() if gone == "empty" else (tmp_path / "first").touch()
    done = place(archives[1], into="second", prune=True)
    reason = f"{tmp_path / 'first'}, which used it, contains no models: check that this repository is mounted"
    assert done.kept == (Kept(environment=old, reason=reason),)
    assert old.exists()


@pytest.mark.parametrize(
    "value",
    [
        "/envs/{name}",
        "/envs/{name}/",
        "{folder}/../environments/{name}",
        "$$TRITON_MODEL_DIRECTORY/../../environments/{name}",
        "{folder}/link.tar.gz",
        "/envs/{escaped}",
    ],
)
@pytest.mark.parametrize("config", ["config.pbtxt", "configs/gpu.pbtxt"])
def test_what_a_hand_written_model_names_is_kept(
    archives: tuple[Path, Path], place: Place, repository: Path, tmp_path: Path, value: str, config: str
) -> None:
    """Under any path: a container may see it under another one."""
    old = place(archives[0]).environment
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link.tar.gz").symlink_to(old)
    escaped = "".join(f"\\{byte:03o}" for byte in old.name.encode())
    named = value.format(name=old.name, folder=tmp_path / "elsewhere", escaped=escaped)
    name_environment(repository / "theirs", named, config)
    done = place(archives[1], prune=True)
    assert (done.deleted, done.kept, done.old_archives) == ((), (), ())
    assert old.exists()


@pytest.mark.parametrize("layout", ["shared", "backend"])
def test_what_a_link_names_is_kept(
    archives: tuple[Path, Path], place: Place, layout: str, tmp_path: Path
) -> None:
    """Models may name the link."""
    old = place(archives[0]).environment
    (old.parent / "stable.tar.gz").symlink_to(old.name)
    done = place(archives[1], prune=True)
    assert done.kept == (Kept(environment=old, reason="stable.tar.gz links to it"),)
    assert old.exists()


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("layout", ["shared", "model", "backend"])
def test_what_no_deployment_placed_is_kept(
    archives: tuple[Path, Path], place: Place, layout: str, unpacked: bool
) -> None:
    """It is called like an environment, and has no record, or one that is not its own."""
    first = place(archives[0], layout=layout, unpacked=unpacked)
    folder = first.environment.parent
    theirs = folder / f"theirs-0123456789ab{'' if unpacked else '.tar.gz'}"
    other = folder / f"other-0123456789ab{'' if unpacked else '.tar.gz'}"
    for path in (theirs, other):
        if unpacked:
            (path / "bin").mkdir(parents=True)
            (path / "bin" / "activate").touch()
        else:
            path.touch()
    shutil.copyfile(record_beside(first.environment), record_beside(other))
    done = place(archives[1], layout=layout, unpacked=unpacked, prune=True, replace=True)
    assert first.environment in done.deleted
    assert not first.environment.exists()
    assert theirs.exists()
    assert other.exists()


def test_a_dry_run_says_what_would_be_and_does_nothing(
    archives: tuple[Path, Path], place: Place, tmp_path: Path
) -> None:
    old = place(archives[0]).environment
    before = tree(tmp_path)
    dry = place(archives[1], prune=True, dry_run=True)
    assert tree(tmp_path) == before
    assert dry.lines() == [
        f"net: {tmp_path / 'repository' / 'net'} (dry run: nothing is written)",
        f"environment: {tmp_path / 'environments' / archives[1].name}",
        f"would be deleted: {old}",
    ]
    done = place(archives[1], prune=True)
    assert dataclasses.replace(dry, dry_run=False) == done
    assert done.lines()[2] == f"deleted: {old}"


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
@pytest.mark.parametrize("unpacked", [False, True])
def test_a_dry_run_makes_no_folders(
    archives: tuple[Path, Path], place: Place, tmp_path: Path, layout: str, unpacked: bool
) -> None:
    before = tree(tmp_path)
    dry = place(archives[0], layout=layout, unpacked=unpacked, dry_run=True)
    assert tree(tmp_path) == before
    assert dry.changed
    assert dataclasses.replace(dry, dry_run=False) == place(archives[0], layout=layout, unpacked=unpacked)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


UNREADABLE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no text format": (
        lambda path: path.write_text("not ours {"),
        ', line 1: Message type "inference.ModelConfig" has no field named "not".',
    ),
    "an unknown field": (
        lambda path: path.write_text('futre: "x"'),
        ', line 1: Message type "inference.ModelConfig" has no field named "futre".',
    ),
    "no UTF-8": (lambda path: path.write_bytes(b"name: '\xff'"), " is not UTF-8: byte 7"),
    "a FIFO": (_fifo, " cannot be read: is a FIFO, not a file"),
    "a folder": (_folder, " cannot be read: is a folder, not a file"),
    "a link to nothing": (_dangling, " cannot be read: No such file or directory"),
    "too large": (
        lambda path: path.write_bytes(b"#" * (2**20 + 1)),
        " is larger than 1 MiB, the limit for configurations",
    ),
}


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_configuration_that_cannot_be_read_stops_it(
    archives: tuple[Path, Path], place: Place, repository: Path, tmp_path: Path, layout: str, kind: str
) -> None:
    old = place(archives[0], layout=layout).environment
    config = name_environment(repository / "theirs", "/opt/theirs.tar.gz")
    damage, said = UNREADABLE[kind]
    damage(config)
    before = tree(tmp_path)
    with pytest.raises(DeployError) as caught:
        place(archives[1], layout=layout, prune=True)
    assert (caught.value.message, caught.value.hint, caught.value.exit_code) == (f"{config}{said}", HINT, 8)
    assert tree(tmp_path) == before
    # Without --prune it is deployed, and nothing is suggested.
    done = place(archives[1], layout=layout)
    assert done.old_archives == ()
    assert [finding.message for finding in done.findings] == [
        f"unused environments cannot be determined: {config}{said}"
    ]
    assert old.exists()


def test_a_configuration_of_another_repository_stops_it_too(
    archives: tuple[Path, Path], place: Place, tmp_path: Path
) -> None:
    old = place(archives[0], into="first").environment
    place(archives[0], into="second")
    config = tmp_path / "first" / "net" / "config.pbtxt"
    config.write_text("{")
    with pytest.raises(DeployError) as caught:
        place(archives[1], into="second", prune=True)
    assert caught.value.message.startswith(f"{config}, line 1: ")
    assert old.exists()


def test_two_folders_of_one_repository(archives: tuple[Path, Path], place: Place, tmp_path: Path) -> None:
    """What lies in a folder that this deployment does not look into is not its business."""
    aside = tmp_path / "aside"
    old = place(archives[0], shared=aside).environment
    assert place(archives[1], prune=True).deleted == ()
    assert old.exists()
    assert place(archives[1], shared=aside, prune=True).deleted == (old,)


def test_a_repository_under_another_path(
    archives: tuple[Path, Path], place: Place, repository: Path, tmp_path: Path
) -> None:
    """Records name the canonical path."""
    old = place(archives[0]).environment
    (tmp_path / "link").symlink_to(repository)
    assert place(archives[1], into="link", prune=True).deleted == (old,)
    record = read_record(tmp_path / "environments" / archives[1].name)
    assert record is not None
    assert record.repositories == (str(repository),)


@pytest.mark.parametrize("unpacked", [False, True])
def test_the_default_of_a_backend(archives: tuple[Path, Path], place: Place, unpacked: bool) -> None:
    old = place(archives[0], layout="backend", unpacked=unpacked).environment
    place(archives[0], layout="backend", unpacked=unpacked, into="second")
    done = place(archives[1], layout="backend", unpacked=unpacked, prune=True)
    # The second repository's models have the backend's default, which is the new one from now on.
    assert done.deleted == (old,)
    record = read_record(done.environment)
    assert record is not None
    assert [Path(path).name for path in record.repositories] == ["repository", "second"]
    assert names(done.environment.parent) == sorted(
        [
            "_torch_runtime",
            "model.py",
            "pb_exec_env_model.py.tar.gz",
            done.environment.name,
            record_beside(done.environment).name,
        ]
    )


def test_a_hand_written_model_that_names_a_backends_environment(
    archives: tuple[Path, Path], place: Place, repository: Path
) -> None:
    old = place(archives[0], layout="backend").environment
    name_environment(repository / "theirs", str(old))
    assert place(archives[1], layout="backend", prune=True).deleted == ()
    assert old.exists()


def test_another_model_that_names_what_lies_in_a_models_folder(
    archives: tuple[Path, Path], place: Place, repository: Path
) -> None:
    old = place(archives[0], layout="model").environment
    name_environment(repository / "theirs", str(old))
    assert place(archives[1], layout="model", prune=True).deleted == ()
    assert old.exists()
    # The same name in a folder of its own is another file.
    name_environment(repository / "theirs", f"$$TRITON_MODEL_DIRECTORY/{old.name}")
    assert place(archives[1], layout="model", prune=True).deleted == (old,)


def test_the_model_itself_may_name_another(
    archives: tuple[Path, Path], place: Place, model: Path, repository: Path
) -> None:
    """A server that is started with ``--model-config-name=gpu`` takes configs/gpu.pbtxt."""
    old = place(archives[0]).environment
    name_environment(model, str(old), "configs/gpu.pbtxt")
    assert place(archives[1], prune=True).deleted == ()
    assert old.exists()
    shutil.rmtree(model / "configs")
    done = place(archives[1], prune=True)
    assert done.removed == ("configs/gpu.pbtxt",)
    assert place(archives[1], prune=True).deleted == (old,)


def test_a_folder_of_roots_own_is_no_model(
    archives: tuple[Path, Path], place: Place, repository: Path
) -> None:
    old = place(archives[0]).environment
    (repository / "lost+found").mkdir()
    (repository / "lost+found" / "config.pbtxt").write_text("{")
    assert place(archives[1], prune=True).deleted == (old,)


def test_it_deletes_once(archives: tuple[Path, Path], place: Place, tmp_path: Path, model: Path) -> None:
    (model / "config.pbtxt").write_text(f"{CONFIG}# changed\n")
    place(archives[0], unpacked=True)
    place(archives[1], unpacked=True, prune=True)
    before = tree(tmp_path)
    again = place(archives[1], unpacked=True, prune=True)
    assert (again.changed, again.deleted) == (False, ())
    assert tree(tmp_path) == before


@pytest.mark.parametrize("what", ["a link to nothing", "an empty folder"])
@pytest.mark.parametrize("other", [False, True])
def test_a_model_whose_volume_is_not_mounted_is_asked_for(
    archives: tuple[Path, Path], place: Place, tmp_path: Path, what: str, other: bool
) -> None:
    """It may name the environment: in this repository, or in another one."""
    first = place(archives[0], name="first", into="other" if other else "repository")
    place(archives[0], name="more", into="other" if other else "repository")
    for folder in (first.folder, first.folder.with_name("more")):
        shutil.move(folder, tmp_path / folder.name)
    name_environment(first.folder.with_name("third"), "/somewhere")
    if what == "a link to nothing":
        first.folder.symlink_to(tmp_path / "not mounted")
    else:
        first.folder.mkdir()
    for _ in range(2):  # the record does not forget the repository meanwhile
        done = place(archives[1], prune=True)
        said = "links to nothing" if what == "a link to nothing" else "has no configuration"
        (kept,) = done.kept
        assert kept.environment == first.environment
        assert kept.reason.startswith(f"{first.folder} {said}, in a repository that used it: ")
        assert done.deleted == ()
    if what == "a link to nothing":
        first.folder.unlink()
    else:
        first.folder.rmdir()
    assert place(archives[1], prune=True).deleted == (first.environment,)


@pytest.mark.parametrize("unpacked", [False, True])
def test_something_else_under_an_environments_name_is_kept(
    archives: tuple[Path, Path], place: Place, unpacked: bool
) -> None:
    old = place(archives[0], unpacked=unpacked).environment
    if unpacked:
        shutil.rmtree(old)
        old.mkdir()
        (old / "precious").write_text("theirs")
    else:
        old.write_bytes(bytes(byte ^ 1 for byte in old.read_bytes()))
    for dry_run in (True, False):
        done = place(archives[1], unpacked=unpacked, prune=True, dry_run=dry_run)
        assert done.deleted == ()
        assert [(kept.environment, kept.reason) for kept in done.kept] == [
            (old, "it does not match its record: something else was put under its name")
        ]
    assert old.exists()


def test_the_folder_that_is_deployed_into_may_be_empty(
    archives: tuple[Path, Path], place: Place, tmp_path: Path
) -> None:
    """It will have a configuration; the repository may be named by a link."""
    old = place(archives[0])
    shutil.rmtree(old.folder)
    old.folder.mkdir()
    (tmp_path / "link").symlink_to("repository")
    assert place(archives[1], into="link", prune=True).deleted == (old.environment,)
