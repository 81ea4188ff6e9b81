"""What the locked artifacts put into an archive: paths, modes and digests."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.entry import Entry
from envbuilder.archive.exclude import PackRules
from envbuilder.archive.segment import Excluded
from envbuilder.base.cpython import CPythonBase
from envbuilder.base.interpreter import Interpreter
from envbuilder.errors import AssembleError, IntegrityError
from envbuilder.store.local import Store
from envbuilder.verification.origin.expected import (
    Contribution,
    Packing,
    base_contributions,
    contribution_of,
    wheel_contribution,
)
from envbuilder.verification.origin.memory import Memory
from tests.helpers.environments import SITE
from tests.helpers.small import little
from tests.helpers.wheels import Zipped, record_hash, wheel_members, write_artifact, write_wheel, zip_bytes

PACKING = Packing(rules=PackRules(bytecode=True, level=4, exclude=("**/tests/**",)))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def files(one: Contribution) -> dict[str, tuple[int, str]]:
    return {file.path: (file.mode, file.sha256) for file in one.files}


def test_a_wheel_puts_its_files_where_an_installer_does(tmp_path: Path) -> None:
    data: dict[str, bytes | Zipped] = {
        "alpha/m.py": b"1",
        "alpha/tests/t.py": b"2",
        "alpha-1.0.data/scripts/tool": b"#!python\nprint()\n",
        "alpha-1.0.data/data/share/x": b"3",
    }
    wheel = write_wheel(tmp_path, "alpha", files=data, entry_points="[console_scripts]\nrun = alpha:main\n")
    found = wheel_contribution(wheel, tmp_path / wheel.filename, minor="3.11", packing=PACKING)
    assert found.label == wheel.filename
    there = files(found)
    assert there[f"{SITE}/alpha/m.py"] == (0o644, digest(b"1"))
    assert there["share/x"] == (0o644, digest(b"3"))
    assert f"{SITE}/alpha/tests/t.py" not in there
    assert found.excluded == (Excluded("**/tests/**", 1, 1),)
    assert there["bin/run"][0] == there["bin/tool"][0] == 0o755
    info = f"{SITE}/alpha-1.0.dist-info"
    assert {f"{info}/{name}" for name in ("METADATA", "RECORD", "INSTALLER")} <= set(there)
    # What the pattern leaves out may stay for a module that imports it.
    kept = replace(PACKING, kept={f"{SITE}/alpha/tests/t.py": "alpha"})
    assert wheel_contribution(wheel, tmp_path / wheel.filename, minor="3.11", packing=kept) is not None


def test_a_record_is_believed_until_the_bytes_are_wanted(tmp_path: Path) -> None:
    """A build goes by the bytes: what a RECORD states that is not so shows where they are compared."""
    members = wheel_members("beta", "1.0", {"beta.py": b"true"})
    lie = members[-1].data.replace(record_hash(b"true").encode(), record_hash(b"lie").encode())
    members[-1] = replace(members[-1], data=lie)
    wheel = write_artifact(tmp_path, "beta", "1.0", zip_bytes(members))
    path, how = tmp_path / wheel.filename, {"minor": "3.11", "packing": PACKING}
    options: dict[str, Any] = how
    assert files(wheel_contribution(wheel, path, **options))[f"{SITE}/beta.py"][1] == digest(b"lie")
    exact = wheel_contribution(wheel, path, exact=True, **options)
    assert files(exact)[f"{SITE}/beta.py"][1] == digest(b"true")


@pytest.mark.parametrize("stated", [b"", b"md5=x", b"sha256=!!"])
def test_what_a_record_does_not_state_is_of_the_bytes(tmp_path: Path, stated: bytes) -> None:
    members = wheel_members("beta", "1.0", {"beta.py": b"true"})
    record = members[-1].data.replace(record_hash(b"true").encode(), stated)
    members[-1] = replace(members[-1], data=record)
    wheel = write_artifact(tmp_path, "beta", "1.0", zip_bytes(members))
    found = wheel_contribution(wheel, tmp_path / wheel.filename, minor="3.11", packing=PACKING)
    assert files(found)[f"{SITE}/beta.py"][1] == digest(b"true")


def test_another_file_under_the_locked_name(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path, "alpha")
    path = tmp_path / wheel.filename
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(IntegrityError, match=r"alpha-1\.0-py3-none-any\.whl has sha256 "):
        wheel_contribution(wheel, path, minor="3.11", packing=PACKING)
    none = write_artifact(tmp_path, "none", "1.0", b"no zip")
    with pytest.raises(AssembleError):
        wheel_contribution(none, tmp_path / none.filename, minor="3.11", packing=PACKING)


def test_entries_of_no_wheel(tmp_path: Path) -> None:
    (tmp_path / "on-disk").write_bytes(b"disk")
    found = contribution_of(
        "base",
        [
            Entry(path="bin/x", mode=0o755, source=tmp_path / "on-disk"),
            Entry(path="lib/y", mode=0o644, data=b"memory"),
            Entry(path="lib/z", mode=0o777, link="y"),
            Entry(path="lib/empty/", mode=0o755),
        ],
        [Excluded("*.a", 1, 2)],
    )
    assert files(found) == {
        "bin/x": (0o755, digest(b"disk")),
        "lib/y": (0o644, digest(b"memory")),
        "lib/z": (0o777, digest(b"y")),
    }
    assert [file.link for file in found.files] == [None, None, "y"]
    assert (found.folders, found.excluded) == (("lib/empty",), (Excluded("*.a", 1, 2),))


def test_a_base_is_laid_out_once(
    tmp_path: Path, python311: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = little(python311)
    packing = Packing(rules=PackRules(bytecode=False, level=1, exclude=pack.exclude or ()))
    memory = Memory(store=Store.open(tmp_path / "store"), tools="1")
    base = CPythonBase(found=python311)
    first = base_contributions(base, "CPython", packing, memory)
    assert first[0].label == "CPython"
    assert "bin/python3.11" in files(first[0])
    assert "bin/activate" in files(first[1])
    assert first[0].excluded
    assert list((memory.store.root / "tmp").iterdir()) == []

    def refuse(*_: object) -> None:
        raise AssertionError("it is laid out again")

    monkeypatch.setattr(CPythonBase, "lay_out", refuse)
    assert base_contributions(base, "CPython", packing, memory) == first
    other = Packing(rules=PackRules(bytecode=False, level=1, exclude=()))
    with pytest.raises(AssertionError, match="laid out again"):
        base_contributions(base, "CPython", other, memory)
