from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from envbuilder.config.channels import Channel
from envbuilder.config.settings import Settings
from envbuilder.errors import FetchError
from envbuilder.fetch.artifacts import fetch_packages
from envbuilder.fetch.channels import find_in_channels
from envbuilder.lockfile.model import CondaPackage
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.fetch.conftest import TOOL, own
from tests.helpers.index_server import Index, Trouble


def test_a_channel_that_the_recipe_does_not_name() -> None:
    absent: list[str] = []
    assert (
        list(find_in_channels(TOOL, [Channel(name="other", urls=("https://x.example.org",))], absent)) == []
    )
    assert list(find_in_channels(TOOL, [], absent)) == []
    assert absent == [
        "channel own: not among the recipe's (other)",
        "channel own: not among the recipe's (none)",
    ]


DATA = bytes(range(256)) * 1200
BROKEN = CondaPackage(
    name="tool",
    version="1.0",
    build="0",
    channel="own",
    subdir="linux-64",
    filename="tool-1.0-0.conda",
    sha256=hashlib.sha256(DATA).hexdigest(),
    size=len(DATA),
)


@pytest.fixture
def served() -> Iterator[Index]:
    """A channel ``own`` that has the package, on the loopback."""
    with Index() as index:
        index.files[f"own/linux-64/{BROKEN.filename}"] = DATA
        yield index


def test_a_download_that_is_interrupted_is_taken_up_again(served: Index, empty_store: Store) -> None:
    served.troubles[BROKEN.filename] = [Trouble(break_after=100_000)]
    paths = fetch_packages([BROKEN], own(served), Session(settings=Settings(), store=empty_store))
    assert paths[BROKEN].read_bytes() == DATA
    first, second = served.asked(BROKEN.filename)
    assert "range" not in first
    assert second["range"] == "bytes=100000-"


def test_a_download_that_never_ends(served: Index, empty_store: Store) -> None:
    served.troubles[BROKEN.filename] = [Trouble(break_after=0) for _ in range(50)]
    with pytest.raises(FetchError) as caught:
        fetch_packages([BROKEN], own(served), Session(settings=Settings(), store=empty_store))
    assert caught.value.message.startswith(f"{BROKEN.filename} (sha256 {BROKEN.sha256[:12]}")
    assert f"{served.base}/files/own/linux-64/{BROKEN.filename}" in caught.value.message
    assert caught.value.exit_code == 4
    assert [path for path in empty_store.root.rglob("*") if path.is_file() and path.stat().st_size] == []
    served.troubles.clear()
    assert (
        fetch_packages([BROKEN], own(served), Session(settings=Settings(), store=empty_store))[
            BROKEN
        ].read_bytes()
        == DATA
    )
