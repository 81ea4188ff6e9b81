"""A store in a registry: the same as one of fsspec's, on Debian's docker-registry."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry.filesystem import RegistryFileSystem
from envbuilder.registry.reference import parse_reference
from envbuilder.store.local import Store
from envbuilder.store.objects import RemoteObjects
from envbuilder.store.session import Session
from envbuilder.store.signed import UntrustedError
from envbuilder.transfer.aliases import move_alias, read_alias
from envbuilder.transfer.push_pull import pull_archive, pull_build, push_build
from tests.helpers.registries import docker_registry
from tests.helpers.small import Small, copy_small
from tests.helpers.trust import Team

_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as found:
        yield found


@pytest.fixture
def address(host: str) -> str:
    return f"oci://{host}/store-{next(_NUMBERS)}"


@pytest.fixture
def small(tmp_path: Path, built_small: Small) -> Small:
    return copy_small(built_small, tmp_path)


def session(small: Small, team: Team, address: str, name: str) -> Session:
    store = dataclasses.replace(Store.open(small.folder / name), remote=team.writes(address))
    return Session(settings=small.settings, store=store)


def test_objects(address: str, tmp_path: Path) -> None:
    files = RemoteObjects(address)
    draft = tmp_path / "draft"
    draft.write_bytes(b"one")
    name = f"{'a' * 64}/{'b' * 64}"
    assert files.size(f"reports/{name}") is None
    assert files.folders() == []
    assert files.create(f"reports/{name}", draft)
    assert not files.create(f"reports/{name}", draft)
    version = files.version(f"reports/{name}")
    assert (files.size(f"reports/{name}"), b"".join(files.read(f"reports/{name}"))) == (3, b"one")
    draft.write_bytes(b"another")
    files.replace(f"reports/{name}", draft)
    assert files.version(f"reports/{name}") != version
    assert files.read_small(f"reports/{name}", 4) == b"anot"
    assert files.names(f"reports/{'a' * 64}") == ["b" * 64]
    assert files.names(f"reports/{'c' * 64}") == []
    assert files.create("archives/aa/aabb", draft)
    assert files.folders() == ["archives", "reports"]
    assert files.walk("reports") == {name: 7}
    files.remove(f"reports/{name}")
    assert files.size(f"reports/{name}") is None
    with pytest.raises(StoreError, match="cannot be an object of a registry"):
        files.size(f"archives/{'x' * 100}")


def test_a_build_is_shared(small: Small, team: Team, address: str, tmp_path: Path) -> None:
    here = session(small, team, address, "here")
    report = small.build(store=here.store)
    pushed = push_build(small.recipe, small.lock, report, here)
    assert "archive" in pushed.sent
    again = push_build(small.recipe, small.lock, report, session(small, team, address, "here"))
    assert again.sent == ()
    there = session(small, team, address, "there")
    pulled = pull_build(small.recipe, small.lock, there, tmp_path / "pulled")
    assert pulled.archive.read_bytes() == report.archive.read_bytes()
    remote = there.remote_store()
    alias = move_alias(
        read_alias("small:stable", remote, there.store), report.sha256[:12], there.store, remote
    )
    assert read_alias("small:stable", remote, there.store) == alias
    assert pull_archive("small:stable", there, tmp_path / "by alias").sha256 == report.sha256
    # What nobody signed who is trusted is not taken.
    stranger = session(small, Team(tmp_path / "stranger", "stranger"), address, "strange")
    with pytest.raises(UntrustedError):
        pull_build(small.recipe, small.lock, stranger, tmp_path / "not pulled")


def test_a_blob_that_is_another_s(address: str, tmp_path: Path, team: Team) -> None:
    remote = team.writes(address)
    draft = tmp_path / "draft"
    draft.write_bytes(b"one")
    wrong = hashlib.sha256(b"two").hexdigest()
    with pytest.raises(IntegrityError, match="after the upload"):
        remote.put("artifacts", wrong, draft)


def test_what_is_no_store(host: str, address: str, tmp_path: Path) -> None:
    system = RegistryFileSystem(parse_reference(address), Settings())
    draft = tmp_path / "draft"
    draft.write_bytes(b"one")
    system.put_file(str(draft), "archives/aa/one")
    with pytest.raises(FileExistsError):
        system.put_file(str(draft), "archives/aa/one", mode="create")
    with pytest.raises(FileNotFoundError):
        system.info("archives/aa/two")
    with pytest.raises(StoreError, match="does not answer"):
        RemoteObjects("oci://127.0.0.1:1/a").size("archives/aa/one")
