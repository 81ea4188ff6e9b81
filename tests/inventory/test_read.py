from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from envbuilder.archive.extract import extract
from envbuilder.errors import IntegrityError
from envbuilder.inventory.components import take_inventory
from envbuilder.inventory.read import read_texts, texts_of_folder
from envbuilder.util.files import file_sha256
from tests.helpers.inventories import SITE, Package, write_archive

ALPHA = Package(name="alpha", headers=["License: MIT"], licences={"licenses/LICENSE": "x" * 100_000})


def test_an_archive_and_its_folder_say_the_same(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ALPHA, more={f"{SITE}/alpha/big.bin": b"0" * 10})
    texts = read_texts(archive)
    assert sorted(path.rpartition("/")[2] for path in texts.files) == ["LICENSE", "METADATA", "manifest.json"]
    assert (texts.sha256, texts.size) == (file_sha256(archive), archive.stat().st_size)
    assert len(texts.files[f"{SITE}/alpha-1.0.dist-info/licenses/LICENSE"]) == 65536

    contents = extract(archive, tmp_path / "out")
    again = texts_of_folder(tmp_path / "out", contents.members, sha256=contents.sha256, size=contents.size)
    assert again == texts


def test_a_plain_tar_is_read_too(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.tar.gz", ALPHA)
    plain = tmp_path / "a.tar"
    plain.write_bytes(gzip.decompress(archive.read_bytes()))
    assert read_texts(plain).files == read_texts(archive).files


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[: len(data) // 2], "it is truncated"),
        (lambda data: data[:-8] + bytes(8), "its gzip stream is damaged"),
        (lambda data: b"", "it is empty"),
        (
            lambda data: b"BZh9" + data,
            "it is compressed by bzip2; Triton's libarchive reads gzip and plain tar",
        ),
        (lambda data: b"no tar at all" * 100, "(at its first header)"),
    ],
)
def test_what_cannot_be_read_to_its_end_is_refused(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]  # a lambda
    archive = write_archive(tmp_path / "a.tar.gz", ALPHA)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(IntegrityError) as caught:
        read_texts(archive)
    assert caught.value.message.startswith(f"{archive}: ")
    assert said in caught.value.message


def test_no_such_archive(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"gone\.tar\.gz cannot be read: No such file or directory"):
        take_inventory(tmp_path / "gone.tar.gz")


def test_an_archive_of_somebody_else_has_no_manifest(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("bin/activate")
        tar.addfile(info, io.BytesIO())
    with pytest.raises(IntegrityError) as caught:
        take_inventory(archive)
    assert str(caught.value) == (
        f"{archive}: the archive has no share/envbuilder/manifest.json\n  hint: build it with `envbuilder build`"
    )


def test_metadata_without_a_name_is_refused(tmp_path: Path) -> None:
    more = {f"{SITE}/beta-1.0.dist-info/METADATA": b"Metadata-Version: 2.4\n\nName: beta\n"}
    archive = write_archive(tmp_path / "a.tar.gz", ALPHA, more=more)
    with pytest.raises(
        IntegrityError, match=r"beta-1\.0\.dist-info/METADATA: name: expected a line of text, found ''"
    ):
        take_inventory(archive)
