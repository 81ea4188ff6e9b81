"""What an archive says of artifacts that are not here: members that they would explain, and no proof of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.verification.origin.claims import claimed_by
from envbuilder.verification.origin.locked import Unknown
from tests.helpers.environments import SITE, Tree
from tests.verification.origin.conftest import extracted

ALPHA = Unknown(label="alpha-1.0.whl", why="gone", project="alpha-beta")
BASE = Unknown(label="CPython", why="gone")
RECORD = f"{SITE}/Alpha_Beta-1.0.dist-info/RECORD"


def claimed(tree: Tree, folder: Path, *unknown: Unknown) -> Callable[[str], bool]:
    return claimed_by(unknown, *extracted(tree, folder))


def test_a_wheel_claims_what_its_record_lists(tmp_path: Path) -> None:
    rows = 'alpha.py,sha256=x,1\n"a,b.py",,\n../../../bin/alpha,,\n\n'
    tree: Tree = {RECORD: rows.encode(), f"{SITE}/evil.py": b"", "bin/alpha": b""}
    is_claimed = claimed(tree, tmp_path, ALPHA)
    assert is_claimed(f"{SITE}/alpha.py")
    assert is_claimed(f"{SITE}/a,b.py")
    assert is_claimed("bin/alpha")
    assert not is_claimed(f"{SITE}/evil.py")
    assert not is_claimed("lib/anything")


def test_the_record_of_a_wheel_that_is_here_claims_nothing(tmp_path: Path) -> None:
    tree: Tree = {RECORD: b"alpha.py,,\n"}
    other = Unknown(label="gamma-1.0.whl", why="gone", project="gamma")
    assert not claimed(tree, tmp_path, other)(f"{SITE}/alpha.py")


def test_a_record_claims_nothing_outside(tmp_path: Path) -> None:
    rows = b"../../../../etc/passwd,,\n/etc/shadow,,\n"
    is_claimed = claimed({RECORD: rows}, tmp_path, ALPHA)
    assert not is_claimed("etc/passwd")
    assert not is_claimed("../etc/passwd")


@pytest.mark.parametrize("record", [b"", b"\xff\xfe\x00", b'"open', b"a" * 200_000, b"\0\n"])
def test_a_record_that_cannot_be_read_claims_nothing_of_others(tmp_path: Path, record: bytes) -> None:
    assert not claimed({RECORD: record}, tmp_path, ALPHA)(f"{SITE}/alpha.py")


def test_a_record_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    tree: Tree = {RECORD: "../other", f"{SITE}/other": b"alpha.py,,\n"}
    assert not claimed(tree, tmp_path, ALPHA)(f"{SITE}/alpha.py")


def test_a_base_may_hold_anything_but_what_wheels_hold(tmp_path: Path) -> None:
    meta = "conda-meta/tool-1.0-0.json"
    tree: Tree = {
        meta: json.dumps({"files": ["bin/tool", f"{SITE}/tool.py"]}).encode(),
        "conda-meta/broken.json": b"{",
        "conda-meta/none.json": b"[]",
    }
    is_claimed = claimed(tree, tmp_path, BASE)
    assert is_claimed(meta)
    assert is_claimed("lib/python3.11/os.py")
    assert is_claimed(f"{SITE}/tool.py"), "conda packages have modules, too"
    assert not is_claimed(f"{SITE}/evil.py")
    assert not claimed(tree, tmp_path / "b", ALPHA)("lib/python3.11/os.py")
