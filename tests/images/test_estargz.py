"""eStargz layers, read by the rules of its specification: footer, table of contents, chunks."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from envbuilder.errors import RecipeError
from envbuilder.images.annotations import TOC_DIGEST
from envbuilder.images.estargz import footer, read_footer
from envbuilder.images.restore import restore_archive
from envbuilder.images.unpack import compare_tree, tree_manifest, unpack
from envbuilder.images.write import write_image
from envbuilder.store.session import Session
from tests.helpers.images import extracted, inspected, read, umoci
from tests.helpers.small import Small


def inflated(data: bytes, offset: int, skip: int, count: int) -> bytes:
    """What a reader gets that begins at *offset* of a layer, and skips bytes."""
    found = b""
    while len(found) < skip + count:
        member = zlib.decompressobj(31)
        found += member.decompress(data[offset:])
        offset = len(data) - len(member.unused_data)
    return found[skip : skip + count]


def table_of(data: bytes) -> tuple[bytes, dict[str, Any]]:
    offset = read_footer(data[-51:])
    assert offset is not None
    text = zlib.decompressobj(31).decompress(data[offset:])
    with tarfile.open(fileobj=io.BytesIO(text)) as tar:
        (member,) = tar.getmembers()
        assert member.name == "stargz.index.json"
        file = tar.extractfile(member)
        assert file is not None
        toc = file.read()
    return toc, json.loads(toc)


def test_each_file_is_read_alone(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.build(store=session.store).archive
    report = write_image([archive], tmp_path / "image", session, estargz=True)
    expected = extracted(archive, tmp_path / "extracted")
    found: dict[str, str] = {}
    for layer in inspected(tmp_path / "image", "small")["layers"]:
        data = (tmp_path / "image/blobs/sha256" / layer["digest"][7:]).read_bytes()
        toc, table = table_of(data)
        assert layer["annotations"][TOC_DIGEST] == f"sha256:{hashlib.sha256(toc).hexdigest()}"
        rows = table["entries"]
        for number, row in enumerate(rows):
            if row["type"] != "reg":
                continue
            chunks = [row]
            chunks += [
                one for one in rows[number + 1 :] if one["type"] == "chunk" and one["name"] == row["name"]
            ]
            content = b""
            for chunk in chunks if row["size"] else ():
                count = chunk.get("chunkSize", row["size"])
                part = inflated(data, chunk["offset"], chunk.get("innerOffset", 0), count)
                assert chunk["chunkDigest"] == f"sha256:{hashlib.sha256(part).hexdigest()}"
                assert chunk.get("chunkOffset", 0) == len(content)
                content += part
            assert len(content) == row["size"]
            found[row["name"]] = hashlib.sha256(content).hexdigest()
    files = {name: digest for name, (kind, _, digest) in expected.items() if kind == "file"}
    assert found == files
    # It is the same image for who does not know of it, but for the table itself.
    tree = umoci(tmp_path / "image", "small", tmp_path / "bundle")
    assert tree.pop("stargz.index.json")[0] == "file"
    assert tree == expected
    layout, image = read(tmp_path / "image")
    unpacked = unpack(layout, image, tmp_path / "scratch")
    assert unpacked.problems == ()
    assert compare_tree(unpacked.tree, tree_manifest(unpacked.tree)) == []
    restored = restore_archive(layout, image, tmp_path / "restored", session)
    assert restored.archive.read_bytes() == archive.read_bytes()
    again = write_image([archive], tmp_path / "again", session, estargz=True)
    assert (again.hashed, again.digest) == (0, report.digest)
    assert write_image([archive], tmp_path / "usual", session).digest != report.digest


def test_the_footer() -> None:
    assert len(footer(12345)) == 51
    assert read_footer(footer(12345)) == 12345
    assert zlib.decompressobj(31).decompress(footer(12345)) == b""
    assert read_footer(footer(1)[:-1]) is None
    assert read_footer(bytes(51)) is None


def test_plain_archives_have_none(small: Small, session: Session, tmp_path: Path) -> None:
    archive = small.with_pack(uncompressed=True).build(store=session.store).archive
    with pytest.raises(RecipeError, match="is not compressed, as eStargz layers are"):
        write_image([archive], tmp_path / "image", session, estargz=True)
