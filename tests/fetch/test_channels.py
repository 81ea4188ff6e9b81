from __future__ import annotations

from pathlib import Path

from envbuilder.channels import Channel
from envbuilder.fetch.channels import find_in_channels
from envbuilder.fetch.places import Candidate
from envbuilder.lockfile import CondaPackage

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
