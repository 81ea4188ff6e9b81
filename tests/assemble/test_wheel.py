from __future__ import annotations

import csv
import io
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from uv import find_uv_bin

from envbuilder.archive.exclude import PackRules
from envbuilder.archive.segment import FileFacts
from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.assemble.wheel import WheelFiles, wheel_files
from envbuilder.base.interpreter import Interpreter
from envbuilder.errors import AssembleError
from tests.helpers.wheels import Zipped, record_hash, wheel_members, zip_bytes

NAME = "demo-1.0-py3-none-any.whl"
INFO = "lib/python3.11/site-packages/demo-1.0.dist-info"
SITE = "lib/python3.11/site-packages"


def list_files(
    tmp_path: Path,
    files: Mapping[str, bytes | Zipped],
    *,
    entry_points: str | None = None,
    replace: Mapping[str, Zipped | None] | None = None,
    rules: PackRules | None = None,
    name: str = NAME,
) -> WheelFiles:
    """List a wheel of *files*; *replace* puts other members in the place of those of the dist-info."""
    members = {str(m.name): m for m in wheel_members("demo", "1.0", files, entry_points=entry_points)}
    kept = {**members, **(replace or {})}
    path = tmp_path / "wheel"
    path.write_bytes(zip_bytes(member for member in kept.values() if member is not None))
    with path.open("rb") as file:
        return wheel_files(ZipDirectory(file, name), name, minor="3.11", rules=rules or PackRules())


def test_where_files_go(tmp_path: Path) -> None:
    files: dict[str, bytes | Zipped] = {
        "demo/__init__.py": b"",
        "demo.libs/lib.so": Zipped(name="demo.libs/lib.so", data=b"\x7fELF", mode=0o100755),
        "demo-1.0.data/purelib/p.py": b"",
        "demo-1.0.data/platlib/q.py": b"",
        "demo-1.0.data/headers/h.h": b"",
        "demo-1.0.data/scripts/run.sh": b"#!/bin/sh\n",
        "demo-1.0.data/scripts/run.py": b"#!python\nprint(1)\n",
        "demo-1.0.data/scripts/runw": b"#!pythonw -u\nprint(1)\n",
        "demo-1.0.data/data/share/x": b"",
        "demo/tests/test_x.py": b"12345",
    }
    found = list_files(tmp_path, files, entry_points="[console_scripts]\ndemo = demo:main\n")
    assert {entry.path: entry.mode for entry in found.entries} == {
        f"{SITE}/demo/__init__.py": 0o644,
        f"{SITE}/demo.libs/lib.so": 0o755,
        f"{SITE}/p.py": 0o644,
        f"{SITE}/q.py": 0o644,
        "include/site/python3.11/demo/h.h": 0o644,
        "bin/run.sh": 0o755,
        "bin/run.py": 0o755,
        "bin/runw": 0o755,
        "share/x": 0o644,
        f"{INFO}/METADATA": 0o644,
        f"{INFO}/WHEEL": 0o644,
        f"{INFO}/entry_points.txt": 0o644,
        "bin/demo": 0o755,
    }
    by_path = {entry.path: entry for entry in found.entries}
    assert by_path["bin/run.py"].data == b"#!/usr/bin/env python3.11\nprint(1)\n"
    assert by_path["bin/runw"].data == b"#!/usr/bin/env python3.11\nprint(1)\n"
    assert by_path["bin/run.sh"].member is not None
    assert (by_path["bin/demo"].data or b"").startswith(b"#!/usr/bin/env python3.11\n")
    ((excluded),) = found.excluded
    assert (excluded.pattern, excluded.files, excluded.size) == (
        "lib/python3.*/site-packages/**/tests/**",
        1,
        5,
    )
    assert found.dist_info == INFO


def test_the_files_are_those_that_uv_installs(tmp_path: Path, python311: Interpreter) -> None:
    files = {
        "demo/__init__.py": b"def main(): print('main')\n",
        "demo-1.0.data/scripts/run.py": b"#!python\nprint('run')\n",
        "demo-1.0.data/scripts/run.sh": b"#!/bin/sh\necho sh\n",
        "demo-1.0.data/data/share/x": b"x",
        "demo-1.0.data/headers/h.h": b"h",
        "demo-1.0.data/purelib/p.py": b"p = 1\n",
    }
    entry_points = (
        "[console_scripts]\ndemo = demo:main\n[gui_scripts]\ndemo-w = demo:main [extra]\n[other]\nx = y\n"
    )
    listed = list_files(tmp_path, files, entry_points=entry_points)
    wheel = tmp_path / NAME
    wheel.write_bytes(zip_bytes(wheel_members("demo", "1.0", files, entry_points=entry_points)))
    venv = tmp_path / "venv"
    environment = {"PATH": "/usr/bin:/bin", "UV_CACHE_DIR": str(tmp_path / "uv"), "HOME": str(tmp_path)}
    for command in (
        ["venv", "--no-config", "--python", str(python311.executable), str(venv)],
        [
            "pip",
            "install",
            "--no-config",
            "--offline",
            "--no-deps",
            "--python",
            str(venv / "bin/python"),
            str(wheel),
        ],
    ):
        subprocess.run([find_uv_bin(), *command], env=environment, check=True, capture_output=True)
    rows = list(csv.reader((venv / INFO / "RECORD").read_text().splitlines()))
    installed = {(venv / SITE / path).resolve().relative_to(venv.resolve()).as_posix() for path, _, _ in rows}
    own = {
        f"{INFO}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json")
    }
    assert {entry.path for entry in listed.entries} == installed - own


def test_record_says_what_was_written(tmp_path: Path) -> None:
    found = list_files(tmp_path, {"demo.py": b""})
    facts = [
        FileFacts(f"{SITE}/demo.py", 0o644, 3, "00" * 32),
        FileFacts(f'{SITE}/a,"b.py', 0o644, 0, "ff" * 32),
        FileFacts(f"{SITE}/__pycache__/demo.cpython-311.pyc", 0o644, 9, "11" * 32),
        FileFacts("bin/demo", 0o755, 1, "22" * 32),
    ]
    installer, record = found.record(facts)
    assert (installer.path, installer.data) == (f"{INFO}/INSTALLER", b"envbuilder\n")
    assert record.path == f"{INFO}/RECORD"
    rows = list(csv.reader(io.StringIO((record.data or b"").decode())))
    assert sorted(rows) == sorted(
        [
            ["demo.py", "sha256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "3"],
            ['a,"b.py', "sha256=__________________________________________8", "0"],
            ["../../../bin/demo", "sha256=IiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiI", "1"],
            ["demo-1.0.dist-info/INSTALLER", record_hash(b"envbuilder\n"), "11"],
            ["demo-1.0.dist-info/RECORD", "", ""],
        ]
    )


def member(name: str, data: bytes) -> Zipped:
    return Zipped(name=name, data=data)


WHEEL, RECORD = "demo-1.0.dist-info/WHEEL", "demo-1.0.dist-info/RECORD"


@pytest.mark.parametrize(
    ("files", "replace", "message"),
    [
        ({}, {WHEEL: None}, "demo-1.0.dist-info/WHEEL is missing: not a valid wheel"),
        ({}, {RECORD: None}, "demo-1.0.dist-info/RECORD is missing: not a valid wheel"),
        ({}, {WHEEL: member(WHEEL, b"Wheel-Version: 2.0\n")}, "wheel format '2.0', expected 1.x"),
        ({}, {WHEEL: member(WHEEL, b"")}, "wheel format '', expected 1.x"),
        (
            {},
            {WHEEL: member(WHEEL, b"\xff")},
            "demo-1.0.dist-info/WHEEL is not UTF-8: 'utf-8' codec can't decode byte 0xff in position 0: "
            "invalid start byte",
        ),
        (
            {},
            {RECORD: member(RECORD, b"one,two\n")},
            "demo-1.0.dist-info/RECORD: Row Index 0: expected 3 elements, got 2",
        ),
        (
            {"Demo-2.0.dist-info/x": b""},
            {},
            "expected one .dist-info folder of demo, found ['Demo-2.0.dist-info', 'demo-1.0.dist-info']",
        ),
        ({"demo-1.0.data/else/x": b""}, {}, "demo-1.0.data/else/x has an unknown scheme"),
        ({"demo-1.0.data/x": b""}, {}, "demo-1.0.data/x has an unknown scheme"),
        (
            {"a.py": b"", "demo-1.0.data/purelib/a.py": b""},
            {},
            "two of its files have the path lib/python3.11/site-packages/a.py",
        ),
        (
            {"a": b"", "demo-1.0.data/purelib/a/b/c": b""},
            {},
            "lib/python3.11/site-packages/a is both a file and the folder of lib/python3.11/site-packages/a/b/c",
        ),
        (
            {"demo-1.0.data/data/share/envbuilder/manifest.json": b"{}"},
            {},
            "one of its files has the path share/envbuilder/manifest.json, which is reserved for envbuilder",
        ),
    ],
)
def test_what_is_no_wheel(
    tmp_path: Path, files: Mapping[str, bytes], replace: Mapping[str, Zipped | None], message: str
) -> None:
    with pytest.raises(AssembleError) as caught:
        list_files(tmp_path, files, replace=replace)
    assert caught.value.message == f"{NAME}: {message}"
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[console_scripts]\n../../evil = a:b\n",
            "entry_points.txt: '../../evil' is not a valid script name",
        ),
        ("[console_scripts]\n.. = a:b\n", "entry_points.txt: '..' is not a valid script name"),
        ("[console_scripts]\nx = not a thing\n", "entry_points.txt: invalid entry point"),
        ("no section", "entry_points.txt: File contains no section headers."),
    ],
)
def test_entry_points_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AssembleError) as caught:
        list_files(tmp_path, {}, entry_points=text)
    assert caught.value.message == f"{NAME}: {message}"


def test_a_wheel_of_another_project_or_none(tmp_path: Path) -> None:
    with pytest.raises(AssembleError) as caught:
        list_files(tmp_path, {}, name="other-1.0-py3-none-any.whl")
    assert caught.value.message == (
        "other-1.0-py3-none-any.whl: expected one .dist-info folder of other, found ['demo-1.0.dist-info']"
    )
    path = tmp_path / "empty"
    path.write_bytes(zip_bytes([]))
    with path.open("rb") as file, pytest.raises(AssembleError) as caught:
        wheel_files(ZipDirectory(file, NAME), NAME, minor="3.11", rules=PackRules())
    assert caught.value.message == f"{NAME}: expected one .dist-info folder of demo, found none"


def test_names_compare_normalized(tmp_path: Path) -> None:
    found = list_files(tmp_path, {}, name="DEMO-1.0-py3-none-any.whl")
    assert found.dist_info == INFO


def test_signatures_and_installers_of_the_wheel_are_not_taken(tmp_path: Path) -> None:
    found = list_files(
        tmp_path, {"demo-1.0.dist-info/RECORD.jws": b"{}", "demo-1.0.dist-info/INSTALLER": b"pip\n"}
    )
    assert sorted(entry.path for entry in found.entries) == [f"{INFO}/METADATA", f"{INFO}/WHEEL"]


def test_an_empty_wheel_is_its_dist_info(tmp_path: Path) -> None:
    assert [entry.path for entry in list_files(tmp_path, {}).entries] == [f"{INFO}/METADATA", f"{INFO}/WHEEL"]
