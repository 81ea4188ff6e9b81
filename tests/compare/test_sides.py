from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.compare.diff import compare
from envbuilder.compare.sides import Package, Side, read_side
from tests.compare.conftest import file
from tests.helpers import inventories

EMPTY = Side(kind="archive", name="a", facts={}, demands={}, packages={})


def test_what_a_package_says_is_no_markup() -> None:
    after = replace(EMPTY, facts={"torch": "<img src=x> [a](b) @everybody *x* | y"})
    (line,) = [line for line in compare(EMPTY, after).markdown().splitlines() if "img" in line]
    assert line == r"| torch | none | \<img src=x\> \[a\](b) \@everybody \*x\* \| y |"


def test_many_files_are_counted_and_the_largest_named() -> None:
    files = {f"lib/{n}.py": file(f"lib/{n}.py", n) for n in range(30)}
    ((title, _, rows),) = compare(EMPTY, replace(EMPTY, files=files)).tables()
    assert title == "30 files added (+435 B); the largest 20"
    assert (len(rows), rows[0], rows[-1][0]) == (20, ("lib/29.py", "added", "+29 B"), "lib/10.py")


def test_the_manifest_inside_does_where_there_is_none_beside(tmp_path: Path) -> None:
    archive = inventories.write_archive(tmp_path / "small.tar.gz", inventories.Package(name="alpha"))
    side = read_side(str(archive), tmp_path)
    assert (side.kind, list(side.packages), side.demands["glibc"]) == ("archive", ["alpha"], "2.28")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(inventories.manifest_of(inventories.Package(name="alpha")).text())
    assert compare(side, read_side(str(manifest), tmp_path)).is_empty


def test_another_file_of_the_same_version_is_said() -> None:
    one = replace(EMPTY, packages={"alpha": Package(version="1", sha256="1" * 64, size=5)})
    two = replace(EMPTY, packages={"alpha": Package(version="1", sha256="2" * 64, size=5)})
    ((_, _, rows),) = compare(one, two).tables()
    assert rows == [("alpha", "changed", "1", "1 (another file)", "±0 B")]


def test_recipes_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    text = 'triton: "24.10"\ntorch: "2.7.1"\ncuda: cu126\ndependencies: [numpy, "pillow>=11"]\n'
    (tmp_path / "recipes" / "one.yaml").write_text(text)
    other = text.replace("24.10", "25.06").replace('"pillow>=11"', "safetensors").replace("cu126", "cu118")
    (tmp_path / "recipes" / "two.yaml").write_text(other)
    found = api.diff("one", "recipes/two.yaml")
    assert {one.name: (one.before, one.after) for one in (*found.facts, *found.demands)} == {
        "Triton": ("24.10", "25.06"),
        "Python": ("3.10", "3.12"),
        "CUDA": ("cu126", "cu118"),
        "glibc at most": ("2.35", "2.39"),
        "GLIBCXX at most": ("3.4.30", "3.4.33"),
        "NVIDIA driver": ("525.60", "520.61"),
    }
    packages = {one.name: (one.before, one.after) for one in found.packages}
    assert packages == {
        "numpy": (Package(version="any, <2"), Package(version="any")),
        "pillow": (Package(version=">=11"), None),
        "safetensors": (None, Package(version="any")),
        "torch": (Package(version="==2.7.1+cu126"), Package(version="==2.7.1+cu118")),
    }
