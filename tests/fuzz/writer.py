"""Fuzz the writer of segments and archives: ``python -m tests.fuzz.writer --seconds 60``.

What ``tarfile`` and ``gzip`` read of an archive is what went in, whatever the names, sizes and contents. See
:mod:`tests.fuzz.common`.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from tests.fuzz.common import Choices, fuzz, instrumented

with instrumented(include=["envbuilder.assemble.writer", "envbuilder.archive"]):
    from envbuilder.archive.entry import Entry
    from envbuilder.archive.write import write_archive
    from envbuilder.archive.zipdir import ZipDirectory
    from envbuilder.assemble.writer import SegmentWriter
from tests.helpers.wheels import Zipped, zip_bytes

_EXECUTOR = ThreadPoolExecutor(2)


def write_and_read(data: bytes) -> None:
    """Make files of *data*, pack them, and read them back."""
    given = Choices(data)
    files: dict[bytes, bytes] = {}
    for number in range(given.integer(0, 6)):
        length = given.integer(1, 300)
        name = given.take(length).replace(b"\0", b"_").strip(b"/").replace(b"//", b"/-")
        # A number of its own keeps a name from being another's folder, and from being a dot.
        path = b"/".join(b"%d" % number + part for part in name.split(b"/"))
        repeat = given.integer(0, 40_000)
        files[path] = given.take(given.integer(0, 200)) * repeat
    level = given.integer(0, 9)
    method = 8 * given.integer(0, 1)
    with tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-") as scratch:
        folder = Path(scratch)
        wheel = folder / "wheel"
        content = list(files.values())
        wheel.write_bytes(
            zip_bytes(Zipped(name=f"{n}", data=data, method=method) for n, data in enumerate(content))
        )
        with wheel.open("rb") as file:
            zip_ = ZipDirectory(file, "fuzzed.whl")
            entries = [
                Entry(os.fsdecode(path), member=zip_.members[f"{number}"])
                for number, path in enumerate(files)
            ]
            with closing(SegmentWriter(folder, level=level, executor=_EXECUTOR, wheel=zip_)) as writer:
                writer.write(entries)
                segment = writer.finish(key="k", label="l", artifact="a")
        write_archive([segment], folder / "out", artifacts=lambda _: wheel, level=level)
        with tarfile.open(folder / "out", errors="surrogateescape") as tar:
            found = {}
            for member in tar.getmembers():
                opened = tar.extractfile(member)
                assert opened is not None
                found[os.fsencode(member.name)] = opened.read()
        assert found == files


SEEDS = [b"", bytes(range(256)) * 8, b"/".join([b"name" * 20] * 20)]

if __name__ == "__main__":
    fuzz(write_and_read, SEEDS, __doc__.splitlines()[0])
