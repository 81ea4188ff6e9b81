"""An environment is read once, whatever it lies in."""

from __future__ import annotations

import bz2
import lzma
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from envbuilder.errors import IntegrityError
from envbuilder.foreign.survey import folder_around, is_foreign, name_of, survey
from tests.helpers.environments import environment, pack

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_other_compressions_are_read_as_the_tar_is(tmp_path: Path, name: str) -> None:
    plain = pack(environment(), tmp_path, mode="w")
    other = tmp_path / f"env.{name}"
    other.write_bytes(COMPRESSORS[name](plain.read_bytes()))
    found = survey(other)
    assert found.members == survey(plain).members
    assert found.refused == f"it is compressed by {name}; Triton's libarchive reads gzip and plain tar"
    other.write_bytes(other.read_bytes()[:-400])  # of zstd nothing is left: it compresses whole blocks
    with pytest.raises(IntegrityError, match=r"truncated|damaged|empty file"):
        survey(other)


def test_a_zip_of_conda_pack_is_read_as_its_tar_is(packed: Path) -> None:
    other, usual = survey(packed.with_name("env.zip")), survey(packed)
    assert other.compression == "zip"
    # It holds what links lead to, where the tar has links; conda-unpack has the time in it.
    for path, one in usual.members.items():
        if one.link is None and "unpack" not in path:
            assert other.members[path].sha256 == one.sha256, path
    assert other.elf.keys() >= usual.elf.keys()


def test_a_folder_around_everything_is_none_of_the_environment(prefix: Path, tmp_path: Path) -> None:
    archive = tmp_path / "around.tar.gz"
    subprocess.run(["tar", "-C", prefix.parent, "-czf", archive, prefix.name], check=True)
    found = survey(archive)
    assert found.around == "env"
    assert found.members.keys() == survey(prefix).members.keys()


def test_folders_around_everything_are_none_of_the_environment(prefix: Path, tmp_path: Path) -> None:
    archive, parts = tmp_path / "around.tar.gz", prefix.parts
    above, inside = Path(*parts[:-2]), "/".join(parts[-2:])  # as `tar -czf FILE /FOLDER/ENV` does
    subprocess.run(["tar", "-C", above, "-czf", archive, inside], check=True)
    found = survey(archive)
    assert found.around == inside
    assert found.members.keys() == survey(prefix).members.keys()
    assert found.texts == survey(prefix).texts


def test_hard_links_are_the_file_that_they_link(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "lib").mkdir(parents=True)
    (tree / "lib" / "a").write_bytes(b"1")
    (tree / "lib" / "b").hardlink_to(tree / "lib" / "a")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tree, ".")
    members = survey(tmp_path / "a.tar").members
    assert members["lib/a"].sha256 == members["lib/b"].sha256


def test_bombs_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("lib/zeros", "w") as file:
        for _ in range(1100):
            file.write(bytes(2**20))
    with pytest.raises(IntegrityError, match="more than"):
        survey(bomb)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be read: No such file"):
        survey(tmp_path / "none.tar.gz")


@pytest.mark.parametrize(
    ("paths", "around"),
    [
        (["env/bin/python3", "env/lib/x"], "env"),
        (["bin/python3", "lib/x"], ""),
        (["opt", "opt/env", "opt/env/bin/python3", "opt/env/lib/x"], "opt/env"),
        (["lib/python3.11/site-packages/torch/lib/x", "lib/python3.11/site-packages/torch/bin/x"], ""),
        (["env/readme"], ""),
        (["env/bin/python3", "other"], ""),
    ],
)
def test_the_folder_around(paths: list[str], around: str) -> None:
    assert folder_around(paths) == around


def test_ours_is_not_foreign(tmp_path: Path) -> None:
    tree = environment()
    assert is_foreign(survey(pack(tree, tmp_path)).members)
    assert not is_foreign(survey(pack(tree, tmp_path, listed=tree)).members)


@pytest.mark.parametrize(
    ("file", "name"),
    [("my env.tar.gz", "my-env"), ("cpu-0123456789ab.tar.gz", "cpu"), ("x.zip", "x"), ("...", "environment")],
)
def test_names(file: str, name: str) -> None:
    assert name_of(Path("/somewhere") / file) == name
