"""What a release demands of an environment: its stub's Python, its image's glibc and libstdc++, its extraction."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from envbuilder.archive.elf import read_elf
from tests.helpers.environments import (
    SITE,
    Tree,
    environment,
    failures,
    pack,
    package,
    some_elf,
    system_libstdcxx,
    verdicts,
)
from tests.helpers.packages import distribution
from tests.verification.static.conftest import found, member

REBUILD = "build it again with `envbuilder build`"


@pytest.mark.parametrize(("release", "status"), [("26.06", "failed"), ("25.08", "warning")])
def test_a_member_through_a_linked_folder(tmp_path: Path, release: str, status: str) -> None:
    tree = environment()
    inside: Tree = {"lib64": "lib", "inner": member("lib64/inner", tarfile.REGTYPE)}
    listed: Tree = {**tree, "lib64": "lib", "lib/inner": b""}
    archive = pack({**tree, **inside}, tmp_path, listed=listed)
    (check,) = [c for c in verdicts(archive, tmp_path, release=release) if c.id == "archive.through-links"]
    text = "members written through a linked folder: lib64/inner (through lib64 -> lib)"
    says = (
        f"{text}; 26.06 rejects them" if status == "failed" else f"{text}; releases since 26.06 reject them"
    )
    assert (check.status, check.found, check.fix) == (status, says, "write them with their real path")


def test_without_libpython(tmp_path: Path) -> None:
    tree = environment()
    del tree["lib/libpython3.11.so.1.0"]
    text, fix = found(tree, tmp_path, "25.06")["layout.libpython"]
    assert text == "the stub of 25.06 needs lib/libpython3.12.so.1.0; the archive has no libpython at all"
    assert fix == 'build it with Python 3.12: `triton: "25.06"` in the recipe selects it'


def test_libpython_of_another_minor(tmp_path: Path) -> None:
    text, _ = found(environment(), tmp_path, "25.06")["layout.libpython"]
    assert text == (
        "the stub of 25.06 needs lib/libpython3.12.so.1.0; the archive has lib/libpython3.11.so.1.0"
    )


def test_an_older_libstdcxx(tmp_path: Path) -> None:
    old = system_libstdcxx()
    for number in range(19, 60):
        old = old.replace(f"GLIBCXX_3.4.{number}\0".encode(), b"GLIBCXX_3.4.18\0")
    tree = environment() | {"lib/libstdc++.so.6.0.30": old, "lib/libstdc++.so.6": "libstdc++.so.6.0.30"}
    wrong = found(tree, tmp_path)
    assert wrong["system.libstdcxx"] == (
        "lib/libstdc++.so.6 has GLIBCXX up to 3.4.18; pytriton-0.7.0's stub requires 3.4.30",
        "remove it, so that the image's is used, or include a newer one: otherwise the stub does not start",
    )


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        (
            "lib/libpython3.11.so.1.0",
            "the base is this machine's own CPython: lock again with one that is built for older systems "
            "(`uv python install`), set `provider: conda`, or target a newer release",
        ),
        (
            f"{SITE}/numpy/x.so",
            "use a version of numpy whose wheel is for manylinux_2_35 or older, or a newer release",
        ),
    ],
)
def test_a_glibc_newer_than_the_image(tmp_path: Path, path: str, fix: str) -> None:
    elf = some_elf().replace(b"GLIBC_2.", b"GLIBC_9.")
    asked = (facts := read_elf(io.BytesIO(elf))) and facts.glibc
    tree = environment() | distribution("numpy", {"numpy/x.so": some_elf()}, version="1.26.4") | {path: elf}
    assert found(tree, tmp_path, "23.08")["system.glibc"] == (
        f"{path} requires GLIBC_{asked}; the image of 23.08 has 2.35",
        fix,
    )
    # Following it: nothing asks for more.
    (tmp_path / "cured").mkdir()
    cured = failures(
        verdicts(pack(tree | {path: some_elf()}, tmp_path, listed=tree), tmp_path / "cured", release="23.08")
    )
    assert "system.glibc" not in cured


def test_numpy_2_where_the_stub_cannot_take_it(tmp_path: Path) -> None:
    tree = {path: data for path, data in environment().items() if "numpy" not in path}
    tree |= package("numpy", "2.3.1")
    wrong = found(tree, tmp_path)
    assert wrong["system.demands"] == (
        "pytriton-0.7.0 requires numpy<2 (found 2.3.1) (with NumPy 2, its stub sends pb_utils.Tensor(name, array) "
        "empty; tensors passed by DLPack are complete)",
        '`triton: "pytriton-0.7.0"` in the recipe locks the right versions',
    )
    assert wrong["manifest.packages"] == ("packages: numpy is 2.3.1, not 1.26.4", REBUILD)


def test_a_package_missing(tmp_path: Path) -> None:
    tree = {path: data for path, data in environment().items() if "numpy" not in path}
    assert found(tree, tmp_path) == {
        "system.demands": (
            "pytriton-0.7.0 requires numpy<2 (missing)",
            '`triton: "pytriton-0.7.0"` in the recipe locks the right versions',
        ),
        "manifest.packages": ("packages: numpy 1.26.4 is missing", REBUILD),
    }
