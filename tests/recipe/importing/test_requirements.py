"""Lines of a pip section, which are those of a requirements file."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import RecipeError
from envbuilder.recipe.importing.detect import read_import
from envbuilder.recipe.importing.remark import SourceLine
from envbuilder.recipe.importing.requirements import is_requirements, read_pip_lines
from envbuilder.recipe.importing.wanted import Wanted


def read(folder: Path, *lines: str) -> Wanted:
    return read_pip_lines(
        [SourceLine(text=text, place=f"e.yml:{number}") for number, text in enumerate(lines, start=1)], folder
    )


def test_requirements(tmp_path: Path) -> None:
    found = read(tmp_path, "einops>=0.8", "x[a]==1 ; python_version > '3'", "# nothing", "y  # why")
    assert [str(one) for _, one in found.requirements] == [
        "einops>=0.8",
        'x[a]==1; python_version > "3"',
        "y",
    ]
    assert (found.remarks, found.indexes) == ([], [])


@pytest.mark.parametrize(
    ("line", "requirement"),
    [
        ("git+https://github.com/x/y@main#egg=y", "y @ git+https://github.com/x/y@main"),
        ("z @ git+https://github.com/x/z@v1", "z @ git+https://github.com/x/z@v1"),
        ("https://example.org/w-1.0-py3-none-any.whl", "w @ https://example.org/w-1.0-py3-none-any.whl"),
        (
            "w @ https://example.org/w-1.0-py3-none-any.whl",
            "w @ https://example.org/w-1.0-py3-none-any.whl",
        ),
    ],
)
def test_references(tmp_path: Path, line: str, requirement: str) -> None:
    found = read(tmp_path, line)
    assert [str(one) for _, one in found.requirements] == [requirement]
    assert found.remarks == []


@pytest.mark.parametrize("form", ["./dist/w-1.0-py3-none-any.whl", "w @ {uri}", "{uri}"])
def test_a_local_wheel(tmp_path: Path, form: str) -> None:
    wheel = tmp_path / "dist" / "w-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    found = read(tmp_path, form.format(uri=wheel.as_uri()))
    assert [str(one) for _, one in found.requirements] == [f"w @ {wheel.as_uri()}"]
    wheel.unlink()
    assert [one.why for one in read(tmp_path, "./dist/w-1.0-py3-none-any.whl").remarks] == [
        f"there is no file {wheel}"
    ]


NO_WHEEL = "an archive of sources at an address cannot be pinned: build a wheel of it and name that"
PLACE = "set package sources in envbuilder.toml, not in a recipe: "


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("./folder", "there is no folder "),
        ("https://example.org/x-1.0.tar.gz", NO_WHEEL),
        ("x @ https://example.org/x-1.0.tar.gz", NO_WHEEL),
        ("./x.whl", "not the name of a wheel"),
        ("git+https://u:p@github.com/x/y", "its name is missing: NAME @ git+https://github.com/x/y"),
        ("hg+https://example.org/x", "expected a git reference (git+https: or git+ssh:)"),
        ("x ==", "not a requirement (PEP 508): "),
        ("-e ./gone", "there is no folder "),
        ("-e git+https://github.com/x/y", "its name is missing: NAME @ git+https://github.com/x/y"),
        ("-c https://example.org/limits.txt", "a file at an address may change: download it and name that"),
        (
            "x==${VERSION}",
            "it contains an environment variable: a recipe must mean the same on every machine",
        ),
        ("--use-feature=x", "an option of pip that does not choose packages"),
        ("--torch-backend cu126", "pip takes no such option in a file"),
        ("--no-binary=:all:", "it names no project: list those to build from source under build-from-source"),
        ("--no-binary :none:", "that is so anyway: wheels are taken"),
        ("-f ./wheels", PLACE + 'find-links = ["…"]'),
        ("--extra-index-url https://example.org/simple", PLACE + 'extra-index-urls = ["…"]'),
        ("--no-index", PLACE + "no-index = true"),
        ("-r a\0b.txt", ""),
        ("-r circle.txt", ""),
    ],
)
def test_what_is_left_out(tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "circle.txt").symlink_to("circle.txt")
    found = read(tmp_path, line)
    assert found.requirements == []
    (remark,) = found.remarks
    assert (remark.fate, remark.why[: len(why)]) == ("left out", why)
    assert str(remark).startswith("e.yml:1: ")


@pytest.mark.parametrize(
    ("line", "how"),
    [
        ("z==1 --hash=sha256:00", "z==1: its hashes are those of the lock"),
        (
            "flash-attn --no-build-isolation",
            "flash-attn: without its options, which a lock of wheels does not need",
        ),
        ("-e git+https://github.com/x/y#egg=y", "built into a wheel when the recipe is locked, not editable"),
        ("--pre", "prereleases: true"),
        ("--no-binary x,y", "build-from-source: [x, y]"),
        ("--require-hashes", "a lock pins every file by its hash, and takes wheels"),
    ],
)
def test_what_is_changed(tmp_path: Path, line: str, how: str) -> None:
    found = read(tmp_path, line)
    (remark,) = [*found.remarks, *found.notes]
    assert (remark.fate, remark.why) == ("changed", how)


def test_credentials_are_not_told(tmp_path: Path) -> None:
    found = read(tmp_path, "--index-url https://user:secret@example.org/simple")
    assert str(found.remarks[0]).startswith("e.yml:1: --index-url https://example.org/simple: set package")


@pytest.mark.parametrize("option", ["--index-url ", "-i ", "--extra-index-url="])
def test_the_index_of_pytorch_says_the_variant(tmp_path: Path, option: str) -> None:
    found = read(tmp_path, f"{option}https://download.pytorch.org/whl/cu126")
    assert ([variant for _, variant in found.indexes], found.remarks) == (["cu126"], [])


def test_an_index_on_the_line_of_torch(tmp_path: Path) -> None:
    found = read(tmp_path, "torch==2.7.1 --index-url https://download.pytorch.org/whl/cu118")
    assert found.own_variant("torch") == "cu118"
    assert found.notes[0].why.startswith("torch==2.7.1: pip ignores an index on the line of one requirement")


def test_files_of_requirements(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("one==1 \\\n  --hash=sha256:00\n\n-r sub/b.txt\n-c limits.txt\n")
    (tmp_path / "sub" / "b.txt").write_text("two\n-r ../a.txt\n")
    (tmp_path / "limits.txt").write_text("three<3\nfour @ https://example.org/x.whl\n")
    found = read(tmp_path, "-r a.txt")
    assert [(said.place, str(one)) for said, one in found.requirements] == [
        (f"{tmp_path}/a.txt:1", "one==1"),
        (f"{tmp_path}/sub/b.txt:1", "two"),
    ]
    assert [(said.place, str(one)) for said, one in found.constraints] == [
        (f"{tmp_path}/limits.txt:1", "three<3")
    ]
    assert [(one.place, one.why) for one in found.notes] == [
        (f"{tmp_path}/a.txt:1", "one==1: its hashes are those of the lock")
    ]
    assert [(one.place, one.why) for one in found.remarks] == [
        (f"{tmp_path}/sub/b.txt:2", "that file includes itself"),
        (f"{tmp_path}/a.txt:4", "its lines are in the recipe"),
        (f"{tmp_path}/limits.txt:2", "a constraint sets a version, not the place of a package"),
        (f"{tmp_path}/a.txt:5", "its lines are in the recipe"),
        ("e.yml:1", "its lines are in the recipe"),
    ]
    (tmp_path / "c.txt").write_bytes(b"\xff")
    assert read(tmp_path, "-r c.txt").remarks[0].why == f"{tmp_path}/c.txt is not UTF-8 text"
    assert (
        read(tmp_path, "-r gone.txt")
        .remarks[0]
        .why.endswith("gone.txt cannot be read: No such file or directory")
    )


def test_a_local_project(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    assert read(tmp_path, "./own").remarks[0].why == (
        f"{tmp_path}/own does not name its project (project.name in pyproject.toml)"
    )
    (tmp_path / "own" / "pyproject.toml").write_text('[project]\nname = "my-own"\n')
    for line in ("./own[fast]", "-e ./own[fast]", f"my-own[fast] @ file://{tmp_path}/own"):
        found = read(tmp_path, line)
        assert [str(one) for _, one in found.requirements] == [f"my-own[fast] @ file://{tmp_path}/own"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("numpy>=1\n# why\n-r other.txt\n", True),
        ("./x-1.0-py3-none-any.whl\n", True),
        ("git+https://github.com/x/y#egg=y\n", True),
        ("name: x\n", False),
        ("Once upon a time\n", False),
        ("# only a comment\n", False),
        ("numpy\nscipy\nnot a requirement\n", True),
        ("numpy\nnot a requirement\nneither is this\n", False),
    ],
)
def test_is_requirements(text: str, told: bool) -> None:
    assert is_requirements(text) is told


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_what_powershell_writes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "requirements.txt"
    path.write_bytes("numpy==1.26.4\r\nscipy\r\n".encode(encoding))
    assert [str(one) for _, one in read_import(path).wanted.requirements] == ["numpy==1.26.4", "scipy"]
    path.write_bytes("numpy".encode("utf-16") + b"x")
    with pytest.raises(RecipeError, match="is not UTF-8 text"):
        read_import(path)


def test_an_index_takes_the_place_of_those_before(tmp_path: Path) -> None:
    """As pip reads a file: --index-url drops every index of the lines before it, the extra ones, too."""
    host = "https://download.pytorch.org/whl"
    lines = (
        f"--extra-index-url {host}/cu118",
        f"--index-url {host}/cu126",
        f"--extra-index-url {host}/cu128",
    )
    found = read(tmp_path, *lines)
    assert [variant for _, variant in found.indexes] == ["cu126", "cu128"]
    assert [str(one) for one in found.remarks] == [
        f"e.yml:1: {lines[0]}: --index-url {host}/cu126 takes its place"
    ]
    assert found.elsewhere == set()
    assert read(tmp_path, lines[0]).elsewhere == {"--index-url"}
    assert read(tmp_path, lines[1], "--extra-index-url https://pypi.org/simple").elsewhere == {
        "--extra-index-url"
    }
    assert read(tmp_path, lines[0], "--no-index").indexes == []
