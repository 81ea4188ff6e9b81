from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.base.cpython import lay_out_base
from envbuilder.base.interpreter import Interpreter, describe, interrogate
from envbuilder.errors import AssembleError
from tests.base.conftest import segment_of
from tests.helpers.interpreters import copy_interpreter


def test_a_copy_elsewhere_gives_the_same_base(python311: Interpreter, tmp_path: Path) -> None:
    copy = interrogate(copy_interpreter(python311, tmp_path / "copy"))
    # A copy may have lost its modes.
    for path in (copy.stdlib / "base64.py", copy.libpython):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
    assert copy.prefix == tmp_path / "copy"
    assert describe(copy).digest == describe(python311).digest
    made: list[tuple[object, ...]] = []
    for interpreter in (python311, copy):
        folder = tmp_path / f"base-{len(made)}"
        folder.mkdir()
        laid_out = lay_out_base(interpreter, folder, PackRules())
        segment = segment_of(tmp_path / f"segment-{len(made)}", laid_out.entries)
        made.append((segment.files, segment.pieces, segment.literals.read_bytes()))
    assert made[0] == made[1]


@pytest.fixture
def strange(python311: Interpreter, tmp_path: Path) -> Interpreter:
    """An interpreter whose standard library is a folder to fill."""
    stdlib = tmp_path / "prefix" / "lib" / "python3.11"
    stdlib.mkdir(parents=True)
    (stdlib / "os.py").write_text("import this\n")
    return dataclasses.replace(
        python311, stdlib=stdlib, include=tmp_path / "none", prefix=tmp_path / "prefix"
    )


def lay_out(interpreter: Interpreter, folder: Path, rules: PackRules | None = None) -> dict[str, Entry]:
    folder.mkdir()
    return {entry.path: entry for entry in lay_out_base(interpreter, folder, rules or PackRules()).entries}


def test_links_within_it_loops_and_dangling_ones_stay_links(strange: Interpreter, tmp_path: Path) -> None:
    (strange.stdlib / "sub").mkdir()
    links = {
        "sub/up": "../os.py",
        "loop": "loop",
        "sub/folder": "..",
        "dangling": "not/there",
        "a": "b",
        "b": "a",
    }
    for name, target in links.items():
        (strange.stdlib / name).symlink_to(target)
    found = lay_out(strange, tmp_path / "base")
    assert {n: found[f"lib/python3.11/{n}"].link for n in links} == links


def test_a_link_to_a_file_elsewhere_becomes_the_file(strange: Interpreter, tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("x = 1\n")
    (strange.stdlib / "absolute.py").symlink_to(outside)
    (strange.stdlib / "relative.py").symlink_to("../../../outside.py")
    (strange.stdlib / "inside.py").symlink_to(strange.stdlib / "os.py")
    found = lay_out(strange, tmp_path / "base")
    for name, text in {"absolute": b"x = 1\n", "relative": b"x = 1\n", "inside": b"import this\n"}.items():
        entry = found[f"lib/python3.11/{name}.py"]
        assert entry.link is None
        assert entry.source is not None
        assert entry.source.read_bytes() == text


def test_names_that_are_not_utf8_and_empty_folders(strange: Interpreter, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.txt")
    (strange.stdlib / name).write_text("x")
    (strange.stdlib / "a b\n'c").write_text("y")
    found = lay_out(strange, tmp_path / "base")
    assert f"lib/python3.11/{name}" in found
    assert "lib/python3.11/a b\n'c" in found
    segment = segment_of(tmp_path / "s", list(found.values()))
    assert name in {file.path.rpartition("/")[2] for file in segment.files}


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        before = Path.cwd()
        os.chdir(path.parent)  # a socket's path may have 108 bytes only
        try:
            made.bind(path.name)
        finally:
            os.chdir(before)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "{path} is a FIFO: it cannot be archived"),
        (_socket, "{path} is a socket: it cannot be archived"),
        (lambda path: os.mknod(path, 0o20644, os.makedev(1, 3)), "{path} is a device: it cannot be archived"),
        (lambda path: path.symlink_to("/nowhere"), "{path} is a symlink to /nowhere, which does not exist"),
        (lambda path: path.symlink_to("../../../no"), "{path} is a symlink to ../../../no, which does not exist"),
        (lambda path: path.symlink_to("../.."), "{path} is a symlink to the folder {prefix}, outside the interpreter"),
        (
            lambda path: path.symlink_to("/usr/lib"),
            "{path} is a symlink to the folder /usr/lib, outside the interpreter",
        ),
    ],
)  # fmt: skip
def test_what_can_be_in_no_archive(
    strange: Interpreter, tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    path = strange.stdlib / "odd"
    make(path)
    with pytest.raises(AssembleError) as caught:
        lay_out(strange, tmp_path / "base")
    assert caught.value.message == what.format(path=path, prefix=tmp_path / "prefix")
    assert caught.value.exit_code == 6
