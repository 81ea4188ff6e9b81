from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError, RecipeError, StoreError
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.transfer.aliases import Alias, move_alias, read_alias
from envbuilder.transfer.expected import Wanted
from envbuilder.transfer.lookup import locate
from envbuilder.transfer.push_pull import pull_archive, push_archive
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small
from tests.helpers.trust import reopened


@pytest.fixture
def two(small: Small, remote: RemoteStore) -> tuple[str, str]:
    """Two archives of one recipe in the remote store."""
    reports = [small.with_pack(level=level).build() for level in (4, 9)]
    for report in reports:
        push_archive(report.archive, with_remote(remote, small.store()))
    return reports[0].sha256, reports[1].sha256


def move(remote: RemoteStore, store: Store, digest: str) -> Alias:
    return move_alias(read_alias("small:stable", remote), digest, store, remote)


def test_an_alias_moves_and_keeps_those_before(
    small: Small, remote: RemoteStore, two: tuple[str, str]
) -> None:
    store = small.store()
    assert read_alias("small:stable", remote) == Alias(name="small:stable", moves=())
    assert move(remote, store, two[0][:12]).sha256 == two[0]
    assert move(remote, store, two[0]).moves[-1].number == 1, "it points there already"
    assert move(remote, store, two[1]).sha256 == two[1]
    found = read_alias("small:stable", reopened(remote))
    assert [one.sha256 for one in found.moves] == list(two)
    assert (found.sha256, found.before) == (two[1], two[0])
    assert locate("small:stable", remote) == (two[1], Wanted(recipe="small"))
    assert pull_archive("small:stable", with_remote(remote), small.folder / "there").sha256 == two[1]
    back = move_alias(found, two[0], store, remote)
    assert (back.sha256, back.before) == two
    assert read_alias("small:other", remote).moves == ()


def test_of_two_who_move_it_at_once_one_is_refused(
    small: Small, remote: RemoteStore, two: tuple[str, str]
) -> None:
    seen = read_alias("small:stable", remote)
    first = move_alias(seen, two[0], small.store(), remote)
    with pytest.raises(StoreError) as raised:
        move_alias(seen, two[1], small.store(), reopened(remote))
    assert str(raised.value) == (
        "small:stable was moved by another process at the same time\n  hint: look first: envbuilder alias small:stable"
    )
    assert raised.value.exit_code == 4
    assert read_alias("small:stable", reopened(remote)) == first


def test_an_alias_points_to_an_archive_of_its_recipe(
    small: Small, remote: RemoteStore, two: tuple[str, str]
) -> None:
    alias = read_alias("resnet:stable", remote)
    with pytest.raises(IntegrityError) as raised:
        move_alias(alias, two[0], small.store(), remote)
    assert raised.value.message == (
        f"the archive {two[0][:12]} is of recipe small, resnet:stable is one of resnet"
    )
    with pytest.raises(StoreError, match="holds no archive whose sha256 begins with 000000000000"):
        move_alias(alias, "0" * 12, small.store(), remote)
    with pytest.raises(StoreError, match="has no alias resnet:stable"):
        locate("resnet:stable", remote)


@pytest.mark.parametrize("name", ["resnet", "resnet:", ":stable", "a/b:c", "a:../b", "a:b:c"])
def test_what_is_no_alias(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as raised:
        read_alias(name, RemoteStore(f"file://{tmp_path}"))
    assert str(raised.value) == (
        f"{name!r} is not an alias\n  hint: an alias is RECIPE:WORD, for instance resnet:stable"
    )
