"""Which source refuses the credentials, or the lack of them: uv calls it missing, and the sources are asked again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envbuilder.errors import ResolveError
from envbuilder.store.local import Store
from envbuilder.util.urls import redacted
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
