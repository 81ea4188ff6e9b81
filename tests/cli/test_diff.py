"""``diff``: as tables, as Markdown, for machines."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.archive.manifest import ManifestPackage
from envbuilder.errors import IntegrityError, RecipeError, StaleLockError
from tests.cli.conftest import call
from tests.compare.conftest import file
from tests.conftest import REPOSITORY
from tests.helpers import inventories


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
    result = call("diff", *write_manifests(tmp_path))
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
    text = call("diff", *write_manifests(tmp_path), "--markdown").stdout
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
    found = json.loads(call("diff", *write_manifests(tmp_path), "--json").stdout)
    assert found["packages"][1] == {
        "name": "beta",
        "change": "removed",
        "before": {"version": "1.0", "sha256": "2" * 64, "size": 5000},
        "after": None,
    }
    assert [one["change"] for one in found["files"]] == ["added", "removed", "changed"]


def test_nothing_changed(tmp_path: Path) -> None:
    archive, _ = write_manifests(tmp_path)
    assert call("diff", archive, archive).stdout == "no difference\n"
    expected = f"### `{archive.name}` → `{archive.name}`\n\nNo difference.\n"
    assert call("diff", archive, archive, "--markdown").stdout == expected


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
    name: str, content: str | None, error: type[RecipeError], said: str
) -> None:
    if content is not None:
        Path(name).write_text(content)
    result = call("diff", name, name)
    assert said in result.stderr
    assert (result.exit_code, result.stdout) == (error.exit_code, "")


def test_two_kinds_cannot_be_compared() -> None:
    lock = REPOSITORY / "recipes" / "pylock.cpu.toml"
    result = call("diff", lock, REPOSITORY / "recipes" / "cpu.yaml")
    assert result.stderr == (
        "error: pylock.cpu.toml is a lock, cpu a recipe\n"
        "  hint: compare two recipes, two locks or two archives\n"
    )
    assert result.exit_code == 2
    assert call("diff", lock, lock, "--json", "--markdown").exit_code == 2
