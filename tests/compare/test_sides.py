from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.compare.diff import compare
from envbuilder.compare.sides import Package, read_side
from tests.helpers import inventories


def test_the_manifest_inside_does_where_there_is_none_beside(tmp_path: Path) -> None:
    archive = inventories.write_archive(tmp_path / "small.tar.gz", inventories.Package(name="alpha"))
    side = read_side(str(archive), tmp_path)
    assert (side.kind, list(side.packages), side.demands["glibc"]) == ("archive", ["alpha"], "2.28")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(inventories.manifest_of(inventories.Package(name="alpha")).text())
    assert compare(side, read_side(str(manifest), tmp_path)).is_empty


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
