from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.store.remote import RemoteStore, seal

DATA = bytes(range(256)) * 100_000  # more than is asked for at a time
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "wheel"
    path.write_bytes(DATA)
    return path


def again(remote: RemoteStore) -> RemoteStore:
    """The same store, to somebody who knows nothing of it."""
    return RemoteStore(remote.url)


def overwrite(remote: RemoteStore, path: str, data: bytes) -> None:
    """Put other bytes under a name."""
    remote._files._fs.pipe_file(remote._files._at(path), data)


def test_what_is_put_is_read(remote: RemoteStore, wheel: Path) -> None:
    assert not remote.holds("artifacts", NAME)
    assert remote.put("artifacts", NAME, wheel)
    assert remote.holds("artifacts", NAME)
    assert b"".join(remote.read("artifacts", NAME)) == DATA
    assert again(remote).put("artifacts", NAME, wheel) is False
    assert again(remote).names("artifacts", NAME[:12]) == [NAME]
    assert again(remote).names("artifacts", "00") == []


def test_an_upload_is_read_back(remote: RemoteStore, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = remote._files._fs
    really = system.put_file

    def put(source: str, target: str, **options: object) -> None:
        damaged = Path(source).with_name("damaged")
        damaged.write_bytes(DATA[:-1] + b"?")
        really(str(damaged), target, **options)

    monkeypatch.setattr(system, "put_file", put)
    with pytest.raises(IntegrityError) as raised:
        remote.put("artifacts", NAME, wheel)
    assert raised.value.message.startswith(f"{remote.url}/artifacts/{NAME[:2]}/{NAME}: sha256 ")
    assert f"after the upload, {NAME} before" in raised.value.message
    assert raised.value.hint == "remove it there, and push again"


def test_an_upload_that_broke_off_is_done_again(remote: RemoteStore, wheel: Path) -> None:
    remote.put("artifacts", NAME, wheel)
    overwrite(remote, f"artifacts/{NAME[:2]}/{NAME}", DATA[:1000])
    assert again(remote).put("artifacts", NAME, wheel) is True
    assert b"".join(again(remote).read("artifacts", NAME)) == DATA


@pytest.mark.parametrize("url", ["file", "s3"], indirect=True)
def test_two_who_put_the_same_at_once(remote: RemoteStore, wheel: Path) -> None:
    """Each sees that it is not there, and then uploads it."""
    both = threading.Barrier(2, timeout=30)
    done: list[bool] = []

    def put(one: RemoteStore) -> None:
        really = one._files.create

        def create(path: str, source: Path) -> bool:
            both.wait()
            return really(path, source)

        one._files.create = create  # type: ignore[method-assign]
        done.append(one.put("artifacts", NAME, wheel))

    threads = [threading.Thread(target=put, args=(again(remote),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    assert any(done)
    assert b"".join(again(remote).read("artifacts", NAME)) == DATA


def test_a_name_is_taken_once(remote: RemoteStore, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    assert remote.create("aliases", "resnet/stable/1", tmp_path / "one")
    assert not again(remote).create("aliases", "resnet/stable/1", tmp_path / "two")
    assert b"".join(remote.read("aliases", "resnet/stable/1")) == b"one"
    assert remote.names("aliases", "resnet/stable/") == ["1"]


def test_what_is_not_there(remote: RemoteStore) -> None:
    with pytest.raises(StoreError, match="is not there"):
        list(remote.read("artifacts", NAME))
    assert remote.read_sealed("manifests", NAME) is None
    assert remote.names("reports", f"{NAME}/") == []


@pytest.mark.parametrize(
    "wrong",
    [
        seal("manifests", NAME, b"body") + b"bod",
        seal("manifests", NAME, b"body")[:30],
        b"",
        seal("manifests", NAME, b"body") + b"Body",
        seal("manifests", NAME.replace("1", "2"), b"body") + b"body",
        seal("reports", NAME, b"body") + b"body",
    ],
)
def test_a_seal_that_does_not_fit(wrong: bytes, tmp_path: Path) -> None:
    remote = RemoteStore(f"file://{tmp_path}")
    (tmp_path / "object").write_bytes(seal("manifests", NAME, b"body") + b"body")
    remote.put("manifests", NAME, tmp_path / "object")
    assert remote.read_sealed("manifests", NAME) == b"body"
    overwrite(remote, f"manifests/{NAME[:2]}/{NAME}", wrong)
    with pytest.raises(IntegrityError) as raised:
        remote.read_sealed("manifests", NAME)
    assert raised.value.message == (
        f"file://{tmp_path}/manifests/{NAME[:2]}/{NAME} is not what was uploaded there: {len(wrong)} bytes"
    )


def test_a_file_store_leaves_no_drafts(tmp_path: Path, wheel: Path) -> None:
    remote = RemoteStore(f"file://{tmp_path}/store")
    remote.put("artifacts", NAME, wheel)
    left = tmp_path / "store" / ".drafts" / "draft-killed"
    left.mkdir()
    (left / "object").write_bytes(b"half")
    (tmp_path / "other").write_bytes(b"other")
    remote.put("artifacts", hashlib.sha256(b"other").hexdigest(), tmp_path / "other")
    assert list((tmp_path / "store" / ".drafts").iterdir()) == []
