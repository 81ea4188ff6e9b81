"""Deployments that are killed at each step, and deployments at the same time: whole, and nothing left."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.names import open_archive
from envbuilder.deployment import layout as layout_module
from envbuilder.deployment.config import read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.record import read_record, record_beside
from envbuilder.errors import IntegrityError
from tests.deployment.conftest import tree, write_archive

_WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link", "ctypes.dlsym", "open")


def content(folder: Path) -> dict[str, bytes | str]:
    """What lies below a folder: bytes of files, targets of links."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else "folder"
        for path in folder.rglob("*")
    }


def killed_at(step: int, *arguments: Any) -> bool:
    """Deploy in a process that is killed before it writes for the *step*th time; return whether it was."""
    pid = os.fork()
    if not pid:
        left = step

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            if event not in _WRITES or (event == "open" and not (len(args) > 2 and args[2] & os.O_ACCMODE)):
                return
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(hook)
            deploy(*arguments)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
def test_killed_at_each_step_and_then_the_same_again(
    tmp_path: Path, model: Path, layout: Any, unpacked: bool
) -> None:
    """The second of two deployments, with --prune: afterwards all is as if nothing had happened."""
    first, second = (write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0"))
    room, start = tmp_path / "room", tmp_path / "start"
    repository, options = room / "repository", DeployOptions(layout=layout, unpacked=unpacked, prune=True)
    deploy(first, model, repository, options)
    (model / "1" / "more").write_text("more")
    shutil.copytree(room, start, symlinks=True)
    deploy(second, model, repository, options)
    wanted = content(room)
    steps = 0
    while True:
        shutil.rmtree(room)
        shutil.copytree(start, room, symlinks=True)
        if not killed_at(steps, second, model, repository, options):
            break
        deploy(second, model, repository, options)
        assert content(room) == wanted, steps
        steps += 1 if steps < 12 else 7
    assert content(room) == wanted
    assert steps > 20


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("with_what", ["another archive", "as many bytes", "nothing", "more at its end"])
def test_an_archive_exchanged_after_it_was_read(
    tmp_path: Path,
    model: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    layout: Any,
    unpacked: bool,
    with_what: str,
) -> None:
    archive = write_archive(tmp_path / "built")
    other = write_archive(tmp_path / "other", files={"bin/activate": b"theirs"})
    data = archive.read_bytes()
    changed = {
        "another archive": other.read_bytes(),
        "as many bytes": data[:-1] + bytes([data[-1] ^ 1]),
        "nothing": b"",
        "more at its end": data + b"\0" * 512,
    }[with_what]

    def exchanged(path: Path, **options: Any) -> Any:
        read = open_archive(path, **options)
        path.write_bytes(changed)
        return read

    monkeypatch.setattr(layout_module, "open_archive", exchanged)
    before = {path: where for path, where in tree(tmp_path).items() if not path.endswith(".gz")}
    with pytest.raises(IntegrityError) as caught:
        deploy(archive, model, repository, DeployOptions(layout=layout, unpacked=unpacked))
    assert caught.value.message == f"{archive} changed during the deployment"
    assert {path: where for path, where in tree(tmp_path).items() if not path.endswith(".gz")} == before


@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
def test_two_deployments_of_one_model_at_once(tmp_path: Path, model: Path, layout: Any) -> None:
    """Each is whole when it is done, and at the end one of them is there: its files, its environment, its record."""
    archives = [write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0")]
    models = []
    for number in (0, 1):
        folder = tmp_path / f"source-{number}" / "net"
        shutil.copytree(model, folder)
        for name in ("a", "b", "c"):
            (folder / "1" / name).write_text(str(number))
        models.append(folder)
    repository = tmp_path / "repository"
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            for turn in range(8):
                deploy(
                    archives[number],
                    models[number],
                    repository,
                    DeployOptions(layout=layout, prune=bool(turn % 2)),
                )
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    (won,) = {(repository / "net" / "1" / name).read_text() for name in ("a", "b", "c")}
    archive = archives[int(won)]
    named = read_config(repository / "net").environment
    if layout == "backend":
        environment = (
            tmp_path / "backends" / "torch-tiny" / "pb_exec_env_model.py.tar.gz"
        ).resolve()  # of the last of them, whichever model files are there
        assert environment.name == archive.name
    else:
        assert named is not None
        environment = Path(named.replace("$$TRITON_MODEL_DIRECTORY", str(repository / "net")))
        assert environment.name == archive.name
    assert environment.read_bytes() == archive.read_bytes()
    assert read_record(environment) is not None
    assert not [path for path in tmp_path.rglob(".*") if "deploying" in path.name]


@pytest.mark.parametrize("unpacked", [False, True])
def test_two_repositories_with_one_folder_at_once(tmp_path: Path, model: Path, unpacked: bool) -> None:
    """Each changes its environment again and again, and prunes: the other's is never deleted under it."""
    archives = [write_archive(tmp_path / "built", torch=torch) for torch in ("2.7.1", "2.8.0")]
    errors: list[BaseException] = []

    def run(name: str, turns: int) -> None:
        try:
            for turn in range(turns):
                done = deploy(
                    archives[turn % 2],
                    model,
                    tmp_path / name,
                    DeployOptions(layout="shared", unpacked=unpacked, prune=True),
                )
                assert done.environment.exists()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=args) for args in (("one", 9), ("two", 10))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for name, number in (("one", 0), ("two", 1)):
        value = read_config(tmp_path / name / "net").environment
        assert value is not None
        assert Path(value).name == archives[number].name.removesuffix(".tar.gz" if unpacked else "")
        assert Path(value).exists()
        assert record_beside(Path(value)).exists()
