"""Which source refuses the credentials, or the lack of them: uv calls it missing, and the sources are asked again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.resolve.closed_index import find_closed
from envbuilder.resolve.solver import Index
from envbuilder.store.local import Store
from envbuilder.util.urls import redacted
from tests.helpers import index_server
from tests.helpers.indexes import Server, Sources, lock, versions, write_recipe

MISSING = "add a user and a password to the index's URL, or put them into .netrc"


@pytest.mark.usefixtures("each_uv")
@pytest.mark.parametrize("given", ["", "me:wrong@"])
def test_credentials_of_an_index(tmp_path: Path, sources: Sources, store: Store, given: str) -> None:
    with Server(sources.root, credentials="me:s3cret/") as server:
        url = f"{server.base}/pypi"
        known = sources.settings(index_url=url.replace("://", "://me:s3cret%2F@"))
        assert versions(lock(write_recipe(tmp_path), known, store))["numpy"] == "1.26.4"
        other = url.replace("://", f"://{given}")
        with pytest.raises(ResolveError) as caught:
            lock(write_recipe(tmp_path), sources.settings(index_url=other), Store(root=tmp_path / "store-2"))
        assert caught.value.message == f"{redacted(other)}: answered 401: it wants other credentials"
        assert "wrong" not in caught.value.message
        assert (caught.value.hint == MISSING) == (not given)
        assert given == "" or str(caught.value.hint).startswith("check the user and the password in its URL")


@pytest.mark.usefixtures("each_uv")
def test_credentials_of_a_further_index_and_of_pytorchs(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    recipe = write_recipe(tmp_path, "only-there")
    with Server(sources.root / "pypi", credentials="me:s3cret") as server:
        for settings in (
            sources.settings(extra_index_urls=(server.base,)),
            sources.settings(pytorch_index=server.base),
        ):
            with pytest.raises(ResolveError, match="answered 401: it wants other credentials"):
                lock(recipe, settings, store)


def test_files_that_are_closed_where_their_pages_are_open(
    tmp_path: Path, sources: Sources, store: Store
) -> None:
    with Server(sources.root, credentials="me:s3cret") as server:
        for page in (sources.root / "pypi").rglob("index.html"):
            page.write_text(
                re.sub(
                    r'href="([^"/#]+\.whl)',
                    rf'href="{server.base}/pypi/{page.parent.name}/\1',
                    page.read_text(),
                )
            )
        with pytest.raises(ResolveError) as caught:
            lock(write_recipe(tmp_path), sources.settings(), store)
    assert re.fullmatch(
        rf"{server.base}/pypi/\S+\.whl\S*: answered 401: it wants other credentials", caught.value.message
    )


@pytest.mark.parametrize("status", [403, 407])
def test_an_index_that_lets_nobody_in(tmp_path: Path, sources: Sources, store: Store, status: int) -> None:
    with Server(sources.root, status=status) as server, pytest.raises(ResolveError) as caught:
        lock(write_recipe(tmp_path), sources.settings(index_url=server.base), store)
    assert caught.value.message == f"{server.base}: answered {status}: it wants other credentials"


# -- which source it is ----------------------------------------------------------------------------


def closed(url: str, *names: str, refusal: str = "", flat: bool = False) -> ResolveError | None:
    index = Index(name="index-1", url=url, flat=flat)
    return find_closed({index: names}, refusal, Settings(timeout=5.0))


def test_an_index_that_is_open_keeps_nothing(served: tuple[Sources, Server]) -> None:
    _, server = served
    assert closed(f"{server.base}/pypi", "numpy", "gone") is None
    assert server.asked == ["GET /pypi/numpy/", "GET /pypi/gone/"]


def test_what_is_no_index_of_pages_is_not_asked(sources: Sources) -> None:
    with Server(sources.root, status=401) as server:
        assert closed(f"{server.base}/wheels", "numpy", flat=True) is None
        assert closed("file:///opt/simple", "numpy") is None
        assert server.asked == []


def test_an_object_store_that_denies_what_it_has_not() -> None:
    """It answers 403 for a page that is not there: that is no matter of credentials."""
    with index_server.Index() as index:
        index.troubles["/gone/"].append(index_server.Trouble(status=403))
        index.add("numpy-1.0-py3-none-any.whl", b"x")
        assert closed(index.url, "gone", "numpy") is None
        index.troubles["/gone/"].append(index_server.Trouble(status=403))
        found = closed(index.url, "gone")
        assert found is not None
        assert found.message == f"{index.url}: answered 403: it wants other credentials"


def test_projects_that_the_solver_missed_are_asked_for_first(sources: Sources) -> None:
    with Server(sources.root, credentials="me:secret") as server:
        refusal = "Because only-there was not found in the package registry, it cannot be solved"
        found = closed(f"{server.base}/pypi", "numpy", refusal=refusal)
        assert found is not None
        assert found.hint == MISSING
        assert server.asked == ["GET /pypi/only-there/"]
        given = server.base.replace("://", "://me:wrong@")
        found = closed(f"{given}/pypi", "numpy")
        assert found is not None
        assert str(found.hint).startswith("check the user and the password")
        assert "wrong" not in str(found)


def test_a_file_that_the_solver_names_is_asked_for(sources: Sources) -> None:
    with Server(sources.root, credentials="me:secret") as server:
        url = f"{server.base}/files/a-1.0-py3-none-any.whl"
        found = find_closed({}, f"Failed to fetch: `{url}`.", Settings(timeout=5.0))
        assert found is not None
        assert found.message == f"{url}: answered 401: it wants other credentials"
    assert find_closed({}, "Failed to fetch: `http://127.0.0.1:9/a.whl`", Settings(timeout=5.0)) is None


def test_a_host_that_does_not_answer_is_asked_once() -> None:
    refusal = "Failed to fetch: `http://127.0.0.1:9/simple/a.whl`"
    assert closed("http://127.0.0.1:9/simple", "a", "b", refusal=refusal) is None
