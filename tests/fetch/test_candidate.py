from __future__ import annotations

from pathlib import Path

from envbuilder.config.channels import Channel
from envbuilder.fetch.candidate import Candidate
from envbuilder.fetch.channels import find_in_channels
from tests.fetch.conftest import TOOL


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
        f"{tmp_path}/empty/noarch/{TOOL.filename}: not found",
    ]
