from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuilder.config.channels import Channel
from envbuilder.config.settings import Settings
from envbuilder.errors import FetchError
from envbuilder.fetch.candidate import Candidate
from envbuilder.fetch.channels import find_in_channels
from envbuilder.fetch.download import fetch_packages
from envbuilder.lockfile.model import CondaPackage
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.index_server import Index, Trouble

TOOL = CondaPackage(
    name="tool",
    version="1!1.0",
    build="0",
    channel="own",
    subdir="noarch",
    filename="tool-1!1.0-0.conda",
    sha256="0" * 64,
    size=1,
)


def test_folders_and_addresses_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "here/noarch").mkdir(parents=True)
    (tmp_path / "here/noarch" / TOOL.filename).write_bytes(b"x")
    (tmp_path / "empty/noarch").mkdir(parents=True)
    channel = Channel(
        name="own",
        urls=(
            (tmp_path / "gone").as_uri(),
            (tmp_path / "empty").as_uri(),
            (tmp_path / "here").as_uri(),
            "https://me:secret@example.org/own",
        ),
    )
    absent: list[str] = []
    other = Channel(name="other", urls=("https://other.example.org",))
    found = list(find_in_channels(TOOL, [other, channel], absent))
    here = tmp_path / "here/noarch" / TOOL.filename
    assert found == [
        Candidate(place=str(here), path=here),
        Candidate(
            place="https://example.org/own/noarch/tool-1%211.0-0.conda",
            url="https://me:secret@example.org/own/noarch/tool-1%211.0-0.conda",
        ),
    ]
    assert absent == [
        f"{tmp_path}/gone/noarch/{TOOL.filename}: no such channel",
        f"{tmp_path}/empty/noarch/{TOOL.filename}: not there",
    ]


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


def own(index: Index) -> list[Channel]:
    return [Channel(name="own", urls=(f"{index.base}/files/own",))]


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
