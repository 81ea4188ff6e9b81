"""Records of what this machine has proven, and what is none."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import envbuilder.store.proofs
from envbuilder.store.local import Store
from envbuilder.store.proofs import KIND, Proofs
from envbuilder.store.remote import RemoteStore


@pytest.fixture
def proofs(tmp_path: Path) -> Proofs:
    return Proofs(store=Store(root=tmp_path / "store"))


def record(proofs: Proofs) -> Path:
    """Return the one record that there is."""
    (path,) = (path for path in (proofs.store.root / KIND).glob("*/*"))
    return path


def test_what_was_recorded_is_found_by_all_its_parts(proofs: Proofs) -> None:
    assert proofs.find("a", "b") is None
    proofs.record({"x": [1, None]}, "a", "b")
    found = proofs.find("a", "b")
    assert found is not None
    assert found.value == {"x": [1, None]}
    assert found.at.endswith("+00:00")
    for parts in (("a",), ("a", "c"), ("ab",), ("a", "b", ""), ("b", "a"), ("ab", "")):
        assert proofs.find(*parts) is None, parts


def test_who_does_not_believe_records_all_the_same(proofs: Proofs) -> None:
    doubting = Proofs(store=proofs.store, believe=False)
    doubting.record(1, "a")
    assert doubting.find("a") is None
    found = proofs.find("a")
    assert found is not None
    assert found.value == 1


def test_other_code_has_proven_nothing(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    proofs.record(1, "a")
    monkeypatch.setattr(envbuilder.store.proofs, "code_digest", lambda: "other")
    assert proofs.find("a") is None


def test_a_changed_or_cut_record_is_none(proofs: Proofs) -> None:
    proofs.record("failed", "a")
    path = record(proofs)
    whole = path.read_bytes()
    for data in (whole.replace(b"failed", b"passed"), whole[:-1], whole[1:], b"", b"\n{}", b"[" * 10_000):
        path.write_bytes(data)
        assert proofs.find("a") is None, data[:80]
    path.write_bytes(whole)
    assert proofs.find("a") is not None


def test_a_record_under_another_name_is_none(proofs: Proofs) -> None:
    proofs.record(1, "good")
    good = record(proofs)
    data = good.read_bytes()
    good.unlink()
    proofs.record(2, "bad")
    record(proofs).write_bytes(data)
    assert proofs.find("bad") is None


def test_a_record_of_another_store_is_none(tmp_path: Path, proofs: Proofs) -> None:
    other = Proofs(store=Store(root=tmp_path / "other"))
    other.record("poison", "a")
    other.record("poison", "b")
    shutil.copytree(other.store.root / KIND, proofs.store.root / KIND)
    assert proofs.find("a") is None
    proofs.record("own", "c")  # now it has a secret, and still not that one
    assert proofs.find("a") is None
    assert proofs.find("b") is None


def test_a_store_that_was_copied_to_another_machine_proves_nothing(
    tmp_path: Path, proofs: Proofs, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tmp_path / "machine-id"
    machine.write_text("1\n")
    monkeypatch.setattr(envbuilder.store.proofs, "MACHINE", (machine,))
    proofs.record(1, "a")
    assert proofs.find("a") is not None
    machine.write_text("2\n")
    assert proofs.find("a") is None


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660])
def test_a_secret_that_others_may_read_is_none(proofs: Proofs, mode: int) -> None:
    proofs.record(1, "a")
    secret = proofs.store.root / "proofs.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    secret.chmod(mode)
    assert proofs.find("a") is None
    proofs.record(2, "a")
    secret.chmod(0o600)
    found = proofs.find("a")
    assert found is not None
    assert found.value == 1


def test_a_secret_that_is_a_link_or_too_short_is_none(tmp_path: Path, proofs: Proofs) -> None:
    proofs.record(1, "a")
    secret = proofs.store.root / "proofs.secret"
    data = secret.read_bytes()
    for short in (b"", data[:-1], data + b"x"):
        secret.write_bytes(short)
        assert proofs.find("a") is None
    moved = tmp_path / "moved"
    moved.write_bytes(data)
    moved.chmod(0o600)
    secret.unlink()
    secret.symlink_to(moved)
    assert proofs.find("a") is None


def test_a_store_that_cannot_be_written_records_for_this_process(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = Store(root=tmp_path / "store", readonly=True, overflow=tmp_path / "overflow")
    (tmp_path / "overflow").mkdir()
    proofs = Proofs(store=store)
    proofs.record(1, "a")
    assert proofs.find("a") is not None
    assert list((tmp_path / "store").iterdir()) == []


def test_two_at_once_share_one_secret(proofs: Proofs) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: proofs.record(number, str(number)), range(40)))
    assert all(proofs.find(str(number)) is not None for number in range(40))
    assert list((proofs.store.root / "tmp").iterdir()) == []


def test_what_was_proven_is_evicted_like_all_else(proofs: Proofs) -> None:
    proofs.record(1, "a")
    assert [entry.kind for entry in proofs.store.entries()] == [KIND]
    proofs.store.clear()
    assert proofs.find("a") is None
    proofs.record(1, "a")
    assert proofs.find("a") is not None


def test_no_record_comes_from_a_remote_store(remote: RemoteStore, tmp_path: Path) -> None:
    """The remote store of the same address, asked for the very name, is not even looked into."""
    store = Store(root=tmp_path / "store", remote=remote)
    proofs = Proofs(store=store)
    proofs.record(1, "a")
    path = record(proofs)
    name, data = path.name, path.read_bytes()
    with store.scratch("x") as scratch:
        (scratch / "draft").write_bytes(data)
        remote.put_signed(KIND, name, scratch / "draft", scratch)  # type: ignore[arg-type]  # a hostile one
    path.unlink()
    assert proofs.find("a") is None
    assert os.listdir(path.parent) == []
