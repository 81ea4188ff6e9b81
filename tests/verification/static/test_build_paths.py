from __future__ import annotations

import marshal
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from envbuilder.verification.static.build_paths import compiled_from, find_build_paths

if TYPE_CHECKING:
    from envbuilder.archive.extract import Contents

PATH = "lib/python3.11/site-packages/alpha/__pycache__/a.cpython-311.pyc"


@pytest.mark.parametrize("source", ["/home/me/build/alpha/a.py", "alpha/a.py"])
def test_the_source_that_bytecode_names(source: str) -> None:
    code = compile("x = 1\n", source, "exec")
    assert list(compiled_from(PATH, bytes(16) + marshal.dumps(code))) == [source] * source.startswith("/")


def test_a_folder_whose_name_is_no_utf_8(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"made in /home/me/caf\xe9/build")
    member = SimpleNamespace(link=None, size=30)
    contents = cast("Contents", SimpleNamespace(members={"text": member}, tree=None))
    (found,) = find_build_paths(tmp_path, contents, [Path("/home/me/caf\udce9")]).files
    assert found == "text (/home/me/caf\udce9)"


def test_what_is_no_bytecode_of_the_environment() -> None:
    assert list(compiled_from("lib/a.pyc", b"/home/me/a.py")) == []
    assert list(compiled_from(PATH, b"junk /alpha/a.py junk")) == []
