"""The difference of two sides, whatever they were read from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envbuilder import api
from envbuilder.compare.diff import Changed, compare
from envbuilder.compare.sides import Package, Side
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.lockfile.pylock import write_lock
from tests.compare.conftest import file
from tests.conftest import REPOSITORY
from tests.helpers.wheels import small_lock, small_recipe, write_wheel

INTERPRETER = LockedInterpreter(version="3.11.7", origin="host", digest="3" * 64)
EMPTY = Side(kind="archive", name="a", facts={}, demands={}, packages={})


def test_locks(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path)
    alpha, beta, newer = (
        write_wheel(tmp_path / str(n), name, version)
        for n, (name, version) in enumerate([("alpha", "1.0"), ("beta", "1.0"), ("alpha", "2.0")])
    )
    glibc = replace(beta, filename="beta-1.0-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl")
    newer_glibc = replace(beta, filename="beta-1.0-cp311-cp311-manylinux_2_34_x86_64.whl")
    write_lock(small_lock(recipe, [alpha, glibc], INTERPRETER), tmp_path / "pylock.one.toml")
    write_lock(small_lock(recipe, [newer, newer_glibc], INTERPRETER), tmp_path / "pylock.two.toml")
    found = api.diff(str(tmp_path / "pylock.one.toml"), str(tmp_path / "pylock.two.toml"))
    assert found.demands == (Changed(name="glibc", before="2.17", after="2.34"),)
    assert [(one.name, one.change) for one in found.packages] == [("alpha", "changed")]
    assert found.facts == ()


def test_the_locks_of_the_repository_differ_by_cuda() -> None:
    locks = [str(REPOSITORY / "recipes" / f"pylock.{name}.toml") for name in ("cpu", "cuda")]
    found = api.diff(*locks)
    assert Changed(name="NVIDIA driver", before=None, after="580.65") in found.demands
    assert "nvidia-cublas" in [one.name for one in found.packages if one.change == "added"]


def test_what_a_package_says_is_no_markup() -> None:
    after = replace(EMPTY, facts={"torch": "<img src=x> [a](b) @everybody *x* | y"})
    (line,) = [line for line in compare(EMPTY, after).markdown().splitlines() if "img" in line]
    assert line == r"| torch | none | \<img src=x\> \[a\](b) \@everybody \*x\* \| y |"


def test_many_files_are_counted_and_the_largest_named() -> None:
    files = {f"lib/{n}.py": file(f"lib/{n}.py", n) for n in range(30)}
    ((title, _, rows),) = compare(EMPTY, replace(EMPTY, files=files)).tables()
    assert title == "30 files added (+435 B); the largest 20"
    assert (len(rows), rows[0], rows[-1][0]) == (20, ("lib/29.py", "added", "+29 B"), "lib/10.py")


def test_another_file_of_the_same_version_is_said() -> None:
    one = replace(EMPTY, packages={"alpha": Package(version="1", sha256="1" * 64, size=5)})
    two = replace(EMPTY, packages={"alpha": Package(version="1", sha256="2" * 64, size=5)})
    ((_, _, rows),) = compare(one, two).tables()
    assert rows == [("alpha", "changed", "1", "1 (another file)", "±0 B")]
