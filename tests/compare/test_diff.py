from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from envbuilder import api
from envbuilder.archive.manifest import ManifestPackage
from envbuilder.cli import cli
from envbuilder.compare.diff import Changed
from envbuilder.errors import IntegrityError, RecipeError, StaleLockError
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.lockfile.pylock import write_lock
from tests.compare.conftest import file
from tests.conftest import REPOSITORY
from tests.helpers import inventories
from tests.helpers.wheels import small_lock, small_recipe, write_wheel

INTERPRETER = LockedInterpreter(version="3.11.7", origin="host", digest="3" * 64)


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, ["diff", *map(str, args)])


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


def test_archives_for_machines(tmp_path: Path) -> None:
    found = json.loads(call(*write_manifests(tmp_path), "--json").stdout)
    assert found["packages"][1] == {
        "name": "beta",
        "change": "removed",
        "before": {"version": "1.0", "sha256": "2" * 64, "size": 5000},
        "after": None,
    }
    assert [one["change"] for one in found["files"]] == ["added", "removed", "changed"]


def test_nothing_changed(cpu_archive: Path) -> None:
    assert call(cpu_archive, cpu_archive).stdout == "no difference\n"
    name = cpu_archive.name
    expected = f"### `{name}` → `{name}`\n\nNo difference.\n"
    assert call(cpu_archive, cpu_archive, "--markdown").stdout == expected


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


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("gone.tar.gz", None, RecipeError, "gone.tar.gz: no such file"),
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
