from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import pytest
from fsspec.core import url_to_fs

from envbuilder.errors import IntegrityError, RecipeError, StoreError
from envbuilder.store.objects import RemoteObjects
from envbuilder.store.remote import RemoteStore
from envbuilder.store.signed import UntrustedError
from envbuilder.store.trust import Trust
from envbuilder.util.tempdirs import temporary_name
from tests.helpers.trust import Team, reopened

DATA = bytes(range(256)) * 100_000  # more than is asked for at a time
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "wheel"
    path.write_bytes(DATA)
    return path


def overwrite(remote: RemoteStore, path: str, data: bytes) -> None:
    """Put other bytes under a name."""
    system, root = url_to_fs(remote.url)
    system.pipe_file(f"{root}/{path}", data)


def test_what_is_put_is_read(remote: RemoteStore, wheel: Path) -> None:
    assert not remote.holds("artifacts", NAME)
    assert remote.put("artifacts", NAME, wheel)
    assert remote.holds("artifacts", NAME)
    assert b"".join(remote.read("artifacts", NAME)) == DATA
    assert reopened(remote).put("artifacts", NAME, wheel) is False
    assert reopened(remote).names("artifacts", NAME[:12]) == [NAME]
    assert reopened(remote).names("artifacts", "00") == []


def test_an_upload_is_read_back(remote: RemoteStore, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create = RemoteObjects.create

    def damage(files: RemoteObjects, path: str, source: Path) -> bool:
        damaged = source.with_name("damaged")
        damaged.write_bytes(DATA[:-1] + b"?")
        return create(files, path, damaged)

    monkeypatch.setattr(RemoteObjects, "create", damage)
    with pytest.raises(IntegrityError) as raised:
        remote.put("artifacts", NAME, wheel)
    assert raised.value.message.startswith(f"{remote.url}/artifacts/{NAME[:2]}/{NAME}: sha256 ")
    assert f"after the upload; expected {NAME}" in raised.value.message
    assert raised.value.hint == "remove it from the store and push again"


def test_an_upload_that_broke_off_is_done_again(remote: RemoteStore, wheel: Path) -> None:
    remote.put("artifacts", NAME, wheel)
    overwrite(remote, f"artifacts/{NAME[:2]}/{NAME}", DATA[:1000])
    assert reopened(remote).put("artifacts", NAME, wheel) is True
    assert b"".join(reopened(remote).read("artifacts", NAME)) == DATA


@pytest.mark.parametrize("url", ["file", "s3"], indirect=True)
def test_two_who_put_the_same_at_once(
    remote: RemoteStore, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each sees that it is not there, and then uploads it."""
    both = threading.Barrier(2, timeout=30)
    done: list[bool] = []
    create = RemoteObjects.create

    def wait(files: RemoteObjects, path: str, source: Path) -> bool:
        both.wait()
        return create(files, path, source)

    monkeypatch.setattr(RemoteObjects, "create", wait)

    def put(one: RemoteStore) -> None:
        done.append(one.put("artifacts", NAME, wheel))

    threads = [threading.Thread(target=put, args=(reopened(remote),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 2
    assert any(done)
    assert b"".join(reopened(remote).read("artifacts", NAME)) == DATA


def test_a_name_is_taken_once(remote: RemoteStore, tmp_path: Path) -> None:
    assert remote.create_signed("aliases", "resnet/stable/00000001", b"one", tmp_path)
    assert not reopened(remote).create_signed("aliases", "resnet/stable/00000001", b"two", tmp_path)
    found = reopened(remote).find("aliases", "resnet/stable/00000001")
    assert found is not None
    assert found.content == b"one"
    assert remote.names("aliases", "resnet/stable/") == ["00000001"]


def test_what_is_not_there(remote: RemoteStore) -> None:
    with pytest.raises(StoreError, match="is not there"):
        list(remote.read("artifacts", NAME))
    assert remote.find("manifests", NAME) is None
    assert not remote.is_signed("manifests", NAME)
    assert remote.names("reports", f"{NAME}/") == []


def test_a_short_object_stands_in_one_and_a_long_one_in_two(remote: RemoteStore, tmp_path: Path) -> None:
    assert remote.put_signed("builds", NAME, b"short", tmp_path)
    assert remote.put_signed("segments", NAME, DATA, tmp_path)
    assert remote.signed == [("builds", NAME), ("segments", NAME)]
    there = reopened(remote)
    short, long = there.find("builds", NAME), there.find("segments", NAME)
    assert short is not None
    assert long is not None
    assert (short.content, short.size) == (b"short", 5)
    assert (long.content, long.sha256, long.size) == (None, NAME, len(DATA))
    assert there.read_body(short, 5) == b"short"
    assert there.read_body(long, len(DATA)) == DATA
    with pytest.raises(IntegrityError) as raised:
        there.read_body(long, 10)
    assert raised.value.message == f"{there.place('segments', NAME)} has 25.6 MB; at most 10 B are read"
    assert not there.put_signed("builds", NAME, b"short", tmp_path)
    assert not there.put_signed("segments", NAME, DATA, tmp_path)
    assert there.signed == []


def test_what_two_sign_counts_for_those_who_trust_either(url: str, tmp_path: Path) -> None:
    one, other, third = (Team(tmp_path, name) for name in ("one", "other", "third"))
    assert one.writes(url).put_signed("builds", NAME, b"body", tmp_path)
    with pytest.raises(UntrustedError) as raised:
        other.is_trusted(url).find("builds", NAME)
    assert raised.value.message == (
        f"{url}/builds/{NAME[:2]}/{NAME} is signed by {one.keyid[:12]}, not by the trusted key {other.keyid[:12]}"
    )
    assert raised.value.hint == "store-trust in envbuilder.toml names the trusted keys"
    assert raised.value.exit_code == 5
    assert other.writes(url).put_signed("builds", NAME, b"body", tmp_path), "a signature more"
    for team in (one, other):
        assert team.is_trusted(url).is_signed("builds", NAME)
    assert not third.is_trusted(url).is_signed("builds", NAME)
    assert not one.writes(url).put_signed("builds", NAME, b"body", tmp_path)


def test_signatures_of_other_bytes_are_not_kept(url: str, tmp_path: Path) -> None:
    one, other = (Team(tmp_path, name) for name in ("one", "other"))
    one.writes(url).put_signed("builds", NAME, b"body", tmp_path)
    other.writes(url).put_signed("builds", NAME, b"other", tmp_path)
    assert not one.is_trusted(url).is_signed("builds", NAME)
    assert one.writes(url).put_signed("builds", NAME, b"body", tmp_path), "made right again"
    assert one.is_trusted(url).is_signed("builds", NAME)


def test_nobody_is_trusted(url: str, tmp_path: Path) -> None:
    Team(tmp_path).writes(url).put_signed("builds", NAME, b"body", tmp_path)
    with pytest.raises(RecipeError) as raised:
        RemoteStore(url).find("builds", NAME)
    assert raised.value.message == (
        f"only artifacts are accepted from {url}: no key is trusted for anything else"
    )
    assert raised.value.exit_code == 2
    for put in (RemoteStore(url), Team(tmp_path).is_trusted(url)):
        with pytest.raises(RecipeError) as raised:
            put.put_signed("builds", NAME, b"body", tmp_path)
        assert str(raised.value) == (
            "uploads to a remote store must be signed, but no key is configured\n  hint: "
            "set ENVBUILDER_STORE_KEY to its file; "
            "`openssl genpkey -algorithm ed25519 -out store.pem` creates one"
        )


def test_a_blob_that_was_exchanged_is_replaced_by_who_has_it(remote: RemoteStore, tmp_path: Path) -> None:
    remote.put_signed("segments", NAME, DATA, tmp_path)
    overwrite(remote, f"blobs/{NAME[:2]}/{NAME}", DATA[:-1] + b"?")
    there = reopened(remote)
    found = there.find("segments", NAME)
    assert found is not None
    with pytest.raises(IntegrityError) as raised:
        there.read_body(found, len(DATA))
    assert raised.value.message.startswith(
        f"{remote.url}/blobs/{NAME[:2]}/{NAME} does not match its name: sha256 "
    )
    assert not there.is_signed("segments", NAME)
    assert there.put_signed("segments", NAME, DATA, tmp_path)
    assert reopened(remote).read_body(found, len(DATA)) == DATA


def test_a_signature_of_a_run_gives_way_to_one_that_lasts(url: str, tmp_path: Path) -> None:
    run, asker = Team(tmp_path, "run"), Team(tmp_path, "asker")
    worker = RemoteStore(url, trust=Trust([asker.store_key], key=run.private.read_text()))
    worker.put_signed("builds", NAME, b"body", tmp_path)
    assert not asker.is_trusted(url).is_signed("builds", NAME)
    asker.writes(url, run).countersign("builds", NAME, tmp_path, without=run.keyid)
    assert asker.is_trusted(url).is_signed("builds", NAME)
    assert not run.is_trusted(url).is_signed("builds", NAME)
    later = RemoteStore(url, trust=Trust([asker.store_key], key=Team(tmp_path, "later").private.read_text()))
    assert not later.put_signed("builds", NAME, b"body", tmp_path), (
        "a key that ends adds nothing to one that counts"
    )


def test_signatures_of_others_do_not_crowd_out_the_own(url: str, tmp_path: Path) -> None:
    for number in range(20):
        Team(tmp_path, f"other-{number}").writes(url).put_signed("builds", NAME, b"body", tmp_path)
    own = Team(tmp_path, "own")
    own.writes(url).put_signed("builds", NAME, b"body", tmp_path)
    assert own.is_trusted(url).is_signed("builds", NAME)


def test_a_file_store_leaves_no_drafts(tmp_path: Path, wheel: Path) -> None:
    remote = RemoteStore(f"file://{tmp_path}/store")
    remote.put("artifacts", NAME, wheel)
    left = tmp_path / "store" / temporary_name(".envbuilder-object")
    left.mkdir()
    (left / "object").write_bytes(b"half")
    (tmp_path / "other").write_bytes(b"other")
    remote.put("artifacts", hashlib.sha256(b"other").hexdigest(), tmp_path / "other")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["artifacts"]
