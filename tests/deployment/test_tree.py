from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from envbuilder.deployment import locking
from envbuilder.deployment import tree as place
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.locking import is_mounted, locked
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.tree import (
    Copy,
    Entry,
    Environment,
    Keep,
    Link,
    Text,
    copy_file,
    is_in_place,
    unpack,
)
from envbuilder.errors import DeployError, IntegrityError, VerifyError
from envbuilder.progress import SILENT
from envbuilder.util.files import file_sha256
from tests.deployment.conftest import CONFIG, tree, write_archive
from tests.deployment.test_layout import Listener

OLD: dict[str, Entry] = {"config": Text(data=b"old"), "1/model": Text(data=b"old")}
NEW: dict[str, Entry] = {
    "config": Text(data=b"new"),
    "1/model": Text(data=b"new"),
    "2/model": Text(data=b"new"),
}


def replace(target: Path, plan: dict[str, Entry]) -> None:
    with locked(target.parent, SILENT):
        place.replace_folder(target, plan, SILENT)


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "repository" / "net"
    replace(target, OLD)
    assert content(target) == {"config": b"old", "1/model": b"old"}
    replace(target, NEW)
    assert content(target) == {"config": b"new", "1/model": b"new", "2/model": b"new"}
    assert os.listdir(tmp_path) == ["repository"]
    assert os.listdir(tmp_path / "repository") == ["net"]


def test_other_users_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        replace(tmp_path / "repository" / "net", OLD)
    finally:
        os.umask(before)
    assert (tmp_path / "repository" / "net").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "repository" / "net" / "config").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "plan", [NEW, {"config": Text(data=b"old")}, {"config": Link(target="x"), "1/model": OLD["1/model"]}]
)
def test_what_is_in_place(tmp_path: Path, plan: dict[str, Entry]) -> None:
    target = tmp_path / "repository" / "net"
    assert not is_in_place(target, OLD)
    replace(target, OLD)
    assert is_in_place(target, OLD)
    assert not is_in_place(target, plan)
    replace(target, plan)
    assert is_in_place(target, plan)
    assert not is_in_place(target, OLD)


def test_a_poller_sees_old_or_new_and_never_half(tmp_path: Path) -> None:
    """A thread looks all the time while folders are replaced, as a server's poll does: by path."""
    repository = tmp_path / "repository"
    target = repository / "net"
    replace(target, OLD)
    seen: set[tuple[bytes, ...]] = set()
    done = threading.Event()

    def poll() -> None:
        while not done.is_set():
            assert os.listdir(repository) == ["net"]
            handle = os.open(target, os.O_RDONLY)  # one folder, whatever its name is by then
            try:
                files = [os.open(path, os.O_RDONLY, dir_fd=handle) for path in ("config", "1/model")]
                seen.add(tuple(os.read(file, 10) for file in files))
                for file in files:
                    os.close(file)
            except FileNotFoundError:
                pass  # the replaced folder, on its way out
            finally:
                os.close(handle)

    errors: list[BaseException] = []

    def watch() -> None:
        try:
            poll()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    for _ in range(100):
        replace(target, NEW)
        replace(target, OLD)
    done.set()
    thread.join()
    assert errors == []
    assert seen <= {(b"old", b"old"), (b"new", b"new")}
    assert len(seen) == 2


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device", "x")]
)
@pytest.mark.parametrize("function", ["exchange", "copy_file", "link_file"])
def test_interrupted(
    archive: Path,
    model: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    function: str,
) -> None:
    (model / "1" / "model.pt").write_bytes(b"old")
    deploy(archive, model, repository)
    (model / "1" / "model.pt").write_bytes(b"new")
    before = tree(repository / "net")

    def fail(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, function, fail)
        if isinstance(error, OSError):
            with pytest.raises(DeployError) as caught:
                deploy(archive, model, repository)
            assert caught.value.message == (
                f"{repository / 'net'} cannot be written: No space left on device: x"
            )
        else:
            with pytest.raises(KeyboardInterrupt):
                deploy(archive, model, repository)
    assert tree(repository / "net") == before
    assert os.listdir(repository) == ["net"]
    assert sorted(os.listdir(repository.parent)) == ["built", "models", "repository"]
    assert deploy(archive, model, repository).changed
    assert (repository / "net" / "1" / "model.pt").read_bytes() == b"new"


def test_interrupted_sharing(
    archive: Path, model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    with monkeypatch.context() as patch:
        patch.setattr(place, "copy_file", fail)
        with pytest.raises(DeployError) as caught:
            deploy(archive, model, repository, DeployOptions(layout="shared"))
    assert caught.value.message == f"{repository / 'net'} cannot be written: No space left on device: x"
    assert sorted(os.listdir(repository.parent)) == ["built", "models"]
    assert deploy(archive, model, repository, DeployOptions(layout="shared")).changed


@pytest.mark.parametrize("function", ["exchange", "write_entry"])
@pytest.mark.parametrize("layout", ["model", "shared", "backend"])
def test_killed(archive: Path, model: Path, repository: Path, function: str, layout: Any) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from envbuilder.deployment import tree
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.locking import is_mounted, locked
from envbuilder.deployment.options import DeployOptions
real = tree.{function}
def die(*args):
    if {function!r} == "write_entry":
        real(*args)
    os.kill(os.getpid(), signal.SIGKILL)
tree.{function} = die
archive, model, repository = map(Path, sys.argv[1:])
deploy(archive, model, repository, DeployOptions(layout={layout!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code, archive, model, repository], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(repository) == []
    left = {
        "models",
        "built",
        "repository",
        *({"environments"} if layout == "shared" else ()),
        *({"backends"} if layout == "backend" else ()),
    }
    assert set(os.listdir(repository.parent)) - left != set()

    assert deploy(archive, model, repository, DeployOptions(layout=layout)).changed
    assert set(os.listdir(repository.parent)) == left
    assert os.listdir(repository) == ["net"]


def test_the_repository_is_a_volume_of_its_own(
    archive: Path, model: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"36 35 98:0 / {str(repository).replace('r', chr(92) + '162', 1)} rw - ext4 /dev/root rw\n"
    )
    monkeypatch.setattr(locking, "MOUNTS", mounts)
    listener = Listener()
    deploy(archive, model, repository, reporter=listener)
    assert listener.notes == [
        f"assembling in {repository / '.deploying'}: {repository.parent} is not on the same file system"
    ]
    assert os.listdir(repository) == ["net"]
    assert sorted(os.listdir(repository.parent)) == ["built", "models", "mountinfo", "repository"]


def test_the_folder_beside_cannot_be_written(
    archive: Path, model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.name == ".repository.deploying":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    assert deploy(archive, model, repository).changed
    assert os.listdir(repository) == ["net"]


def test_neither_place_can_be_written(
    archive: Path, model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.mkdir

    def mkdir(self: Path, *args: Any, **kwargs: Any) -> None:
        if "deploying" in self.name:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(DeployError) as caught:
        deploy(archive, model, repository)
    assert caught.value.message == f"{repository} cannot be written: Permission denied"


def test_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_mounted(Path("/proc"))
    assert not is_mounted(tmp_path)
    monkeypatch.setattr(locking, "MOUNTS", tmp_path / "none")
    assert not is_mounted(tmp_path)


class NoExchange:
    """A libc on a file system that cannot exchange."""

    def renameat2(self, *args: object) -> int:
        ctypes.set_errno(errno.EINVAL)
        return -1


def test_a_file_system_that_cannot_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: NoExchange())
    target = tmp_path / "repository" / "net"
    replace(target, OLD)
    replace(target, NEW)
    assert content(target)["config"] == b"new"
    assert os.listdir(tmp_path) == ["repository"]
    real = Path.rename

    def rename(self: Path, to: Path) -> Path:
        if self.name == "net" and "deploying" in str(self):
            raise OSError(errno.EIO, "Input/output error", str(self))
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(DeployError):
        replace(target, OLD)
    assert content(target)["config"] == b"new"


def test_an_exchange_that_is_not_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Denied:
        def renameat2(self, *args: object) -> int:
            ctypes.set_errno(errno.EACCES)
            return -1

    target = tmp_path / "repository" / "net"
    replace(target, OLD)
    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: Denied())
    with pytest.raises(DeployError, match="net cannot be written: Permission denied"):
        replace(target, NEW)
    assert content(target)["config"] == b"old"


def test_what_was_kept_and_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="gone meanwhile"):
        replace(tmp_path / "repository" / "net", {"old.tar.gz": Keep()})


def test_one_deployment_at_a_time(archive: Path, model: Path, repository: Path) -> None:
    repository.mkdir()
    handle = os.open(repository, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    listener = Listener()
    thread = threading.Thread(
        target=deploy, args=(archive, model), kwargs={"repository": repository, "reporter": listener}
    )
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert listener.notes == [f"waiting for another deployment to {repository}"]
    assert os.listdir(repository) == []
    os.close(handle)
    thread.join()
    assert os.listdir(repository) == ["net"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    listener = Listener()
    with locked(tmp_path, listener):
        pass
    assert listener.notes == [
        f"{tmp_path} cannot be locked on this file system: run only one deployment at a time there"
    ]


def test_a_file_system_without_hard_links(
    tmp_path: Path, model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    old = deploy(
        write_archive(tmp_path / "built"), model, repository, DeployOptions(unpacked=True)
    ).environment
    (model / "config.pbtxt").write_text(f"{CONFIG}# changed\n")
    before = {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.is_file()}
    assert deploy(write_archive(tmp_path / "built"), model, repository, DeployOptions(unpacked=True)).changed
    assert {path: path.stat().st_mtime_ns for path in old.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("size", [0, 1, 3 * 2**20])
@pytest.mark.parametrize("code", [None, errno.EXDEV, errno.EOPNOTSUPP])
def test_copy_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, code: int | None) -> None:
    (tmp_path / "a").write_bytes(os.urandom(size))
    if code is not None:

        def copy_file_range(*args: object) -> int:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    copy_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_copy_file_tells_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy_file_range(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_bytes(b"a")
    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    with pytest.raises(OSError, match="No space left on device"):
        copy_file(tmp_path / "a", tmp_path / "b")


def test_unpack(tmp_path: Path) -> None:
    def link(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo("bin/python3")
        member.type, member.linkname = tarfile.SYMTYPE, "python3.12"
        tar.addfile(member)
        folder = tarfile.TarInfo("empty")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)

    unpack(write_archive(tmp_path / "built", members=link), tmp_path / "out")
    assert os.readlink(tmp_path / "out" / "bin" / "python3") == "python3.12"
    assert (tmp_path / "out" / "empty").is_dir()


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("..", "parent: a/../../x"),
        ("absolute", "absolute: /x"),
        ("through a link", "through-link: lib64/x (through lib64 -> lib)"),
        ("hard link", "hard-link: x (to bin/activate)"),
        ("device", "device: x (character device)"),
    ],
)
def test_unpack_refuses(tmp_path: Path, kind: str, problem: str) -> None:
    def bad(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(
            {"..": "a/../../x", "absolute": "/x", "through a link": "lib64/x"}.get(kind, "x")
        )
        if kind == "through a link":
            link = tarfile.TarInfo("lib64")
            link.type, link.linkname = tarfile.SYMTYPE, "lib"
            tar.addfile(link)
        if kind == "hard link":
            member.type, member.linkname = tarfile.LNKTYPE, "bin/activate"
        if kind == "device":
            member.type = tarfile.CHRTYPE
        tar.addfile(member)

    archive = write_archive(tmp_path / "built", members=bad)
    with pytest.raises(IntegrityError) as caught:
        unpack(archive, tmp_path / "out")
    assert caught.value.message == f"{archive} cannot be extracted: {problem}"
    assert not (tmp_path / "x").exists()


def test_unpack_a_truncated_archive(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "built", files={"x": os.urandom(1000)})
    os.truncate(archive, 900)
    with pytest.raises(IntegrityError, match="cannot be extracted"):
        unpack(archive, tmp_path / "out")


def test_entries_are_what_they_are_made_from(tmp_path: Path, archive: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    plan: dict[str, Entry] = {
        "copy": Copy(path=source),
        "link": Link(target="copy"),
        "archive": Environment(archive=archive, sha256=file_sha256(archive), unpacked=False),
        "folder": Environment(archive=archive, sha256=file_sha256(archive), unpacked=True),
    }
    target = tmp_path / "repository" / "net"
    replace(target, plan)
    assert is_in_place(target, plan)
    os.chmod(source, 0o600)
    assert not is_in_place(target, plan)


def test_unpack_on_a_full_disk(
    archive: Path, model: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(archive: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise VerifyError("the archive cannot be extracted: x: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(place, "extract", full)
        with pytest.raises(DeployError) as caught:
            deploy(archive, model, repository, DeployOptions(unpacked=True))
    assert caught.value.message == "the archive cannot be extracted: x: No space left on device"
    assert sorted(os.listdir(repository.parent)) == ["built", "models"]
