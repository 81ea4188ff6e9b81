from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from envbuilder import api
from envbuilder.archive.manifest import ManifestFile, ManifestPackage
from envbuilder.cli import cli
from envbuilder.compare.diff import Changed, compare
from envbuilder.compare.sides import Package, Side, read_side
from envbuilder.errors import IntegrityError, RecipeError, StaleLockError
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.lockfile.pylock import write_lock
from tests.conftest import REPOSITORY
from tests.helpers import inventories
from tests.helpers.wheels import small_lock, small_recipe, write_wheel

EMPTY = Side(kind="archive", name="a", facts={}, demands={}, packages={})
INTERPRETER = LockedInterpreter(version="3.11.7", origin="host", digest="3" * 64)


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, ["diff", *map(str, args)])


def file(path: str, size: int, sha256: str = "1" * 64) -> ManifestFile:
    return ManifestFile(path=path, mode=0o644, size=size, sha256=sha256)


# -- archives --------------------------------------------------------------------------------------


def write_manifests(folder: Path) -> tuple[Path, Path]:
    """Two archives as they lie after a build, the archives themselves being of no interest."""
    one = inventories.manifest_of(
        packages=(
            ManifestPackage(name="alpha", version="1.0", filename="a.whl", sha256="1" * 64, size=1000),
            ManifestPackage(name="beta", version="1.0", filename="b.whl", sha256="2" * 64, size=5000),
            ManifestPackage(name="same", version="1.0", filename="s.whl", sha256="5" * 64, size=7),
        ),
        files=(file("lib/a.py", 100), file("lib/b.py", 200), file("lib/same.py", 1)),
    )
    other = replace(
        one,
        cuda="cu126",
        torch="2.13.0+cu126",
        glibc="2.34",
        packages=(
            replace(one.packages[0], version="2.0", size=3000),
            ManifestPackage(name="gamma", version="1.0", filename="g.whl", sha256="3" * 64, size=20),
            one.packages[2],
        ),
        files=(file("lib/a.py", 100, "2" * 64), file("lib/c|`d`.py", 5000), file("lib/same.py", 1)),
        unpacked_size=4000,
    )
    paths = []
    for name, manifest in (("small-aaaaaaaaaaaa", one), ("small-bbbbbbbbbbbb", other)):
        (folder / f"{name}.tar.gz").write_bytes(b"x" * (1000 if manifest is one else 3000))
        (folder / f"{name}.json").write_text(manifest.text())
        paths.append(folder / f"{name}.tar.gz")
    return paths[0], paths[1]


def test_archives_in_a_table(tmp_path: Path) -> None:
    result = call(*write_manifests(tmp_path))
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines() if line] == [
        ["Made", "for"],
        ["before", "after"],
        ["torch", "2.13.0+cpu", "2.13.0+cu126"],
        ["CUDA", "cpu", "cu126"],
        ["Demands"],
        ["before", "after"],
        ["glibc", "2.28", "2.34"],
        ["NVIDIA", "driver", "none", "525.60"],
        ["Packages"],
        ["package", "before", "after", "size"],
        ["alpha", "changed", "1.0", "2.0", "+2.0", "kB"],
        ["beta", "removed", "1.0", "-5.0", "kB"],
        ["gamma", "added", "1.0", "+20", "B"],
        ["Sizes"],
        ["before", "after", "difference"],
        ["archive", "1.0", "kB", "3.0", "kB", "+2.0", "kB"],
        ["unpacked", "10", "B", "4.0", "kB", "+4.0", "kB"],
        [*"1 file added (+5.0 kB), 1 file removed (-200 B), 1 file changed (±0 B)".split()],  # noqa: SIM905  # a sentence
        ["file", "size"],
        ["lib/c|`d`.py", "added", "+5.0", "kB"],
        ["lib/b.py", "removed", "-200", "B"],
        ["lib/a.py", "changed", "±0", "B"],
    ]


def test_archives_in_markdown(tmp_path: Path) -> None:
    text = call(*write_manifests(tmp_path), "--markdown").stdout
    assert text.startswith(
        "### `small-aaaaaaaaaaaa.tar.gz` → `small-bbbbbbbbbbbb.tar.gz`\n\n**Made for**\n\n"
    )
    assert "| glibc | 2.28 | 2.34 |\n" in text
    assert "| `alpha` | changed | 1.0 | 2.0 | +2.0 kB |\n" in text
    assert "<details><summary>1 file added (+5.0 kB), 1 file removed" in text
    # A path cannot end a cell or leave its code.
    assert "| `lib/c\\|\u2019d\u2019.py` | added | +5.0 kB |\n" in text
    for table in text.split("\n\n"):
        rows = [row for row in table.splitlines() if row.startswith("|")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) <= 1


def test_what_a_package_says_is_no_markup() -> None:
    after = replace(EMPTY, facts={"torch": "<img src=x> [a](b) @everybody *x* | y"})
    (line,) = [line for line in compare(EMPTY, after).markdown().splitlines() if "img" in line]
    assert line == r"| torch | none | \<img src=x\> \[a\](b) \@everybody \*x\* \| y |"


def test_archives_for_machines(tmp_path: Path) -> None:
    found = json.loads(call(*write_manifests(tmp_path), "--json").stdout)
    assert found["packages"][1] == {
        "name": "beta",
        "change": "removed",
        "before": {"version": "1.0", "sha256": "2" * 64, "size": 5000},
        "after": None,
    }
    assert [one["change"] for one in found["files"]] == ["added", "removed", "changed"]


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


def test_nothing_changed(cpu_archive: Path) -> None:
    assert call(cpu_archive, cpu_archive).stdout == "no difference\n"
    name = cpu_archive.name
    expected = f"### `{name}` → `{name}`\n\nNo difference.\n"
    assert call(cpu_archive, cpu_archive, "--markdown").stdout == expected


def test_another_file_of_the_same_version_is_said() -> None:
    one = replace(EMPTY, packages={"alpha": Package(version="1", sha256="1" * 64, size=5)})
    two = replace(EMPTY, packages={"alpha": Package(version="1", sha256="2" * 64, size=5)})
    ((_, _, rows),) = compare(one, two).tables()
    assert rows == [("alpha", "changed", "1", "1 (another file)", "±0 B")]


# -- locks and recipes -----------------------------------------------------------------------------


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


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("gone.tar.gz", None, RecipeError, "gone.tar.gz: there is no such file"),
        ("pylock.gone.toml", None, StaleLockError, "recipe gone is not locked: there is no pylock.gone.toml"),
        ("gone", None, RecipeError, "no recipe 'gone' in "),
        ("pylock.a.toml", "[tool]\n", IntegrityError, "is no lock of envbuilder, or was cut off"),
        ("a.json", "{", IntegrityError, "a.json: is not JSON: "),
        ("a.tar", "no tar" * 200, IntegrityError, "a.tar: "),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    content: str | None,
    error: type[RecipeError],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_text(content)
    result = call(name, name)
    assert said in result.stderr
    assert (result.exit_code, result.stdout) == (error.exit_code, "")


def test_two_kinds_cannot_be_compared() -> None:
    lock = REPOSITORY / "recipes" / "pylock.cpu.toml"
    result = call(lock, REPOSITORY / "recipes" / "cpu.yaml")
    assert result.stderr == (
        "error: pylock.cpu.toml is a lock, cpu a recipe\n"
        "  hint: compare two recipes, two locks or two archives\n"
    )
    assert result.exit_code == 2
    assert call(lock, lock, "--json", "--markdown").exit_code == 2
