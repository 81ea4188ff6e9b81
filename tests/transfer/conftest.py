from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter
from envbuilder.store.remote import RemoteStore
from tests.helpers.s3 import make_bucket, s3_server, use_server
from tests.helpers.small import Small, make_small

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server(tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket on that server, as a URL; the server is this process's S3."""
    name = f"bucket-{next(_NUMBERS)}"
    make_bucket(s3, name)
    use_server(s3, monkeypatch)
    return f"s3://{name}"


@pytest.fixture(params=["file", "s3", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, of each kind."""
    if request.param == "s3":
        bucket: str = request.getfixturevalue("bucket")
        return f"{bucket}/store"
    if request.param == "memory":
        return f"memory://store-{next(_NUMBERS)}"
    return f"file://{tmp_path}/else where"


@pytest.fixture
def remote(url: str) -> RemoteStore:
    """An empty store elsewhere, of each kind."""
    return RemoteStore(url)


@pytest.fixture
def small(tmp_path: Path, python311: Interpreter) -> Small:
    """A small environment that is really built."""
    return make_small(tmp_path, python311)
