"""The package of the distribution that owns a library."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from envbuilder.base import library_origins
from envbuilder.base.library_origins import find_origins
from envbuilder.util.process import CommandError, Completed

OWNERS = (
    "zlib1g:amd64: /lib/x86_64-linux-gnu/libz.so.1\ndiversion by x from: /lib/x86_64-linux-gnu/libgone.so.1\n"
)
ABOUT = "zlib1g:amd64\tzlib1g\t1:1.2.13.dfsg-1\tamd64\tzlib\n"
LIBRARIES = [Path("/usr/lib/x86_64-linux-gnu/libz.so.1"), Path("/lib/x86_64-linux-gnu/libgone.so.1")]


def test_the_package_that_owns_it_whichever_path_dpkg_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(args: Sequence[str], **_: Any) -> Completed:
        return Completed(returncode=0, stdout=OWNERS if args[1] == "-S" else ABOUT, stderr="")

    monkeypatch.setattr(library_origins, "run", answer)
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "debian", "VERSION_ID": "12"})
    (tmp_path / "zlib1g").mkdir()
    (tmp_path / "zlib1g" / "copyright").write_text("Format: x\n")
    found = find_origins(LIBRARIES, tmp_path)
    assert found.keys() == {"libz.so.1"}
    one = found["libz.so.1"]
    assert (one.package, one.version, one.source) == ("zlib1g", "1:1.2.13.dfsg-1", "zlib")
    assert (one.distribution, one.release, one.copyright) == ("debian", "12", "Format: x\n")


def test_a_system_without_dpkg_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(args: Sequence[str], **_: Any) -> Completed:
        raise CommandError(args, 127, "not found")

    monkeypatch.setattr(library_origins, "run", missing)
    assert find_origins(LIBRARIES) == {}
