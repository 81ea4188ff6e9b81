"""Members compared with what should be there, the first contribution of a path."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable
from pathlib import Path

from envbuilder.archive.extract import Contents
from envbuilder.archive.manifest import ENVIRONMENT_PATH, MANIFEST_PATH
from envbuilder.archive.segment import FileFacts
from envbuilder.verification.origin.compare import Comparison, compare, compare_bytecode, same
from envbuilder.verification.origin.expected import Contribution
from tests.helpers.environments import Tree
from tests.verification.origin.conftest import extracted

PYC = "lib/a/__pycache__/m.cpython-311.pyc"


def facts(path: str, data: bytes = b"1", mode: int = 0o644) -> FileFacts:
    return FileFacts(path, mode, len(data), hashlib.sha256(data).hexdigest())


def link(path: str, target: str) -> FileFacts:
    return FileFacts(path, 0o777, 0, hashlib.sha256(target.encode()).hexdigest(), link=target)


def of(label: str, *files: FileFacts, folders: tuple[str, ...] = ()) -> Contribution:
    return Contribution(label=label, files=files, folders=folders)


def nobody(_: str) -> bool:
    return False


def compared(
    tree: Tree,
    folder: Path,
    *contributions: Contribution,
    environment: tuple[Contribution, ...] = (),
    claimed: Callable[[str], bool] = nobody,
    doubtful: str | None = None,
) -> tuple[Comparison, Contents]:
    contents, _ = extracted(tree, folder)
    return compare(contents, contributions, environment, claimed, doubtful), contents


def test_all_is_accounted_for(tmp_path: Path) -> None:
    tree: Tree = {"bin/tool": b"1", "lib/a.py": b"2", "lib/b": "a.py", MANIFEST_PATH: b"{}"}
    found, _ = compared(
        tree,
        tmp_path,
        of("one", facts("bin/tool", mode=0o755)),
        of("two", facts("lib/a.py", b"2"), link("lib/b", "a.py")),
    )
    assert dict(found.accounted) == {"one": 1, "two": 2}
    assert (found.wrong, found.changed_of) == ([], set())


def test_the_first_contribution_of_a_path_counts(tmp_path: Path) -> None:
    first, second = of("first", facts("lib/a", b"1")), of("second", facts("lib/a", b"2"))
    assert compared({"lib/a": b"1"}, tmp_path / "1", first, second)[0].wrong == []
    found, _ = compared({"lib/a": b"2"}, tmp_path / "2", first, second)
    assert found.wrong == ["files that differ from their origin: lib/a (first)"]
    assert found.changed_of == {"first"}


def test_what_is_wrong_is_said_by_kind(tmp_path: Path) -> None:
    tree: Tree = {"lib/changed": b"x", "lib/mode": b"1", "lib/link": "elsewhere", "lib/foreign": b""}
    expected = of(
        "a",
        facts("lib/changed"),
        facts("lib/mode", mode=0o755),
        link("lib/link", "target"),
        facts("lib/gone"),
    )
    found, _ = compared(tree, tmp_path, expected)
    assert found.wrong == [
        "files of unknown origin: lib/foreign",
        "files that differ from their origin: lib/changed (a), lib/mode (a), lib/link (a)",
        "files that are missing: lib/gone (a)",
    ]


def test_what_somebody_claims_is_unknown_and_not_foreign(tmp_path: Path) -> None:
    found, _ = compared({"lib/a": b"", "lib/b": b""}, tmp_path, claimed=lambda path: path == "lib/a")
    assert (found.unknown, found.foreign) == (["lib/a"], ["lib/b"])


def test_files_that_unknown_code_may_have_changed(tmp_path: Path) -> None:
    base = of("base", facts("lib/a"), facts("lib/gone"))
    found, _ = compared({"lib/a": b"changed"}, tmp_path / "1", base, doubtful="base")
    assert (found.wrong, found.unknown) == ([], ["lib/a"])
    found, _ = compared({"lib/a": b"changed"}, tmp_path / "2", base, doubtful="another")
    assert len(found.wrong) == 2


def test_one_of_two_files_of_variables_has_to_be_there(tmp_path: Path) -> None:
    plain, compiler = (of("envbuilder", facts(ENVIRONMENT_PATH, data)) for data in (b"{}", b'{"CXX"}'))
    for number, data in enumerate((b"{}", b'{"CXX"}')):
        tree: Tree = {ENVIRONMENT_PATH: data}
        found, _ = compared(tree, tmp_path / str(number), environment=(plain, compiler))
        assert (found.wrong, found.accounted["envbuilder"]) == ([], 1)
    found, _ = compared({ENVIRONMENT_PATH: b"x"}, tmp_path / "x", environment=(plain, compiler))
    assert found.wrong == [f"files that differ from their origin: {ENVIRONMENT_PATH} (envbuilder)"]
    found, _ = compared({"lib/a": b""}, tmp_path / "y", environment=(plain,))
    assert f"files that are missing: {ENVIRONMENT_PATH} (envbuilder)" in found.wrong


def test_folders_that_nothing_lies_in(tmp_path: Path) -> None:
    empty = tarfile.TarInfo("lib/empty")
    empty.type, empty.mode = tarfile.DIRTYPE, 0o755
    tree: Tree = {"lib/a": b"1", "lib/empty": empty}
    found, _ = compared(tree, tmp_path / "1", of("a", facts("lib/a")))
    assert found.foreign == ["lib/empty/"]
    found, _ = compared(tree, tmp_path / "2", of("a", facts("lib/a"), folders=("lib/empty",)))
    assert found.foreign == []
    found, _ = compared(tree, tmp_path / "3", of("a", facts("lib/a")), claimed=lambda path: "empty" in path)
    assert found.foreign == []


def test_bytecode_is_compared_with_what_its_source_gives(tmp_path: Path) -> None:
    found, contents = compared({PYC: b"code", "lib/a/m.py": b"1"}, tmp_path, of("a", facts("lib/a/m.py")))
    assert found.bytecode == [PYC]
    compare_bytecode(found, {PYC: hashlib.sha256(b"code").hexdigest()}, contents)
    assert (found.wrong, found.accounted["compiled again"]) == ([], 1)


def test_bytecode_of_another_source_of_none_and_none_at_all(tmp_path: Path) -> None:
    more = PYC.replace("m.", "more.")
    found, contents = compared({PYC: b"code", more: b"code"}, tmp_path)
    gone = PYC.replace("m.", "gone.")
    compare_bytecode(found, {PYC: "0" * 64, gone: "1" * 64}, contents)
    assert found.wrong == [
        f"files of unknown origin: {more}",
        f"files that differ from their origin: {PYC} (its source)",
        f"files that are missing: {gone} (its source)",
    ]


def test_a_member_is_a_file_by_content_kind_and_mode(tmp_path: Path) -> None:
    _, contents = compared({"bin/a": b"1", "lib/b": "a"}, tmp_path)
    file, other = contents.members["bin/a"], contents.members["lib/b"]
    assert same(file, facts("bin/a", mode=0o755))
    assert not same(file, facts("bin/a", mode=0o644))
    assert not same(file, facts("bin/a", b"2", mode=0o755))
    assert not same(file, link("bin/a", "1"))
    assert same(other, link("lib/b", "a"))
    assert not same(other, link("lib/b", "c"))
