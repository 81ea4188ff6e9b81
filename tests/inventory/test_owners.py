from __future__ import annotations

import json
from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.inventory.components import take_inventory
from envbuilder.inventory.owners import find_owners
from tests.helpers.inventories import SITE, Package, write_archive

VENDORED = Package(name="packaging", version="23.0", place=f"{SITE}/pkg_resources/_vendor")
LIBRARY = f"{SITE}/cv2/libfoo-0123abcd.so.1.2.3"


def record(name: str, *paths: str) -> dict[str, bytes]:
    return {f"{SITE}/{name}.dist-info/RECORD": "".join(f"{path},,\n" for path in paths).encode()}


def test_who_lists_a_file_brought_it_whatever_its_folder_is_called(tmp_path: Path) -> None:
    info = "packaging-23.0.dist-info/METADATA"
    more = record("setuptools-70.0", f"pkg_resources/_vendor/{info}", "../../../bin/x", '"a,b.py"') | record(
        "opencv_python-4.9", "cv2/libfoo-0123abcd.so.1.2.3"
    )
    listed = {"name": "conda-thing", "files": [f"{SITE}/pkg_resources/_vendor/{info}", "lib/libz.so.1.2.13"]}
    more["conda-meta/conda-thing-1-0.json"] = json.dumps(listed).encode()
    path = write_archive(
        tmp_path / "x.tar.gz", Package(name="setuptools", version="70.0"), VENDORED, more=more
    )
    (bundled,) = (one for one in take_inventory(path).components if one.kind == "bundled")
    owners = find_owners(path, {LIBRARY, "lib/libz.so.1.2.13"})
    assert owners.of(bundled) == "setuptools"  # pip's list counts before conda's
    assert owners.files == {LIBRARY: "opencv-python", "lib/libz.so.1.2.13": "conda-thing"}


def test_lists_that_cannot_be_read(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.tar.gz", more={"conda-meta/x.json": b"{"})
    with pytest.raises(IntegrityError, match="the lists of its packages' files cannot be read"):
        find_owners(path)
    with pytest.raises(IntegrityError):
        find_owners(tmp_path / "gone")


def test_nobody_lists_it(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "x.tar.gz", VENDORED)
    (bundled,) = (one for one in take_inventory(path).components if one.kind == "bundled")
    assert find_owners(path).of(bundled) is None
