"""Fuzz the reader of zip directories: ``python -m tests.fuzz.zipdir --seconds 60``.

Any bytes are either refused with an AssembleError, or mean to it what they mean to ``zipfile``. See
:mod:`tests.fuzz.common`.
"""

from __future__ import annotations

import io
import os
import zipfile

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder.archive.zipdir"]):
    from envbuilder.archive.member_file import MemberFile
    from envbuilder.archive.zipdir import ZipDirectory
from envbuilder.errors import AssembleError
from tests.helpers.wheels import Zipped, wheel_members, zip_bytes

_FILE = os.memfd_create("zip")


def read_zip(data: bytes) -> None:
    """Read *data* with both, and compare."""
    os.ftruncate(_FILE, 0)
    os.pwrite(_FILE, data, 0)
    with open(_FILE, "rb", closefd=False) as file:
        try:
            zip_ = ZipDirectory(file, "fuzzed.whl")
            found = {name: zip_.read(member) for name, member in zip_.members.items()}
        except AssembleError:
            return
        for name, member in zip_.members.items():
            opened = MemberFile(zip_, member)
            opened.seek(member.size // 2)
            assert io.BufferedReader(opened).read() == found[name][member.size // 2 :]
    with zipfile.ZipFile(io.BytesIO(data)) as other:
        meant = {info.filename: other.read(info) for info in other.infolist() if not info.is_dir()}
    assert found == meant


SEEDS = [
    zip_bytes([]),
    zip_bytes(
        [Zipped(name="a", data=b"a" * 50), Zipped(name="b/c", data=b"stored", method=0)], comment=b"end"
    ),
    zip_bytes(
        wheel_members("demo", "1.0", {"demo.py": b"x = 1\n"}, entry_points="[console_scripts]\nd = demo:x\n")
    ),
]

if __name__ == "__main__":
    fuzz(read_zip, SEEDS, __doc__.splitlines()[0])
