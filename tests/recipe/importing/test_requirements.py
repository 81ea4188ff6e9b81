"""Lines of a pip section, which are those of a requirements file."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.requirements import PipLines, read_pip_lines


def read(folder: Path, *lines: str) -> PipLines:
    return read_pip_lines(
        [Said(text=text, place=f"e.yml:{number}") for number, text in enumerate(lines, start=1)], folder
    )


def test_requirements(tmp_path: Path) -> None:
    found = read(tmp_path, "einops>=0.8", "x[a]==1 ; python_version > '3'", "# nothing", "y  # why")
    assert [str(one) for _, one in found.requirements] == [
        "einops>=0.8",
        'x[a]==1; python_version > "3"',
        "y",
    ]
    assert (found.remarks, found.variant) == ([], None)


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


NO_WHEEL = "only wheels can be pinned by hash: build one of it, and name that"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("./folder", NO_WHEEL),
        ("~/folder", NO_WHEEL),
        ("https://example.org/x-1.0.tar.gz", NO_WHEEL),
        ("x @ https://example.org/x-1.0.tar.gz", NO_WHEEL),
        ("file:///x/x-1.0.tar.gz", NO_WHEEL),
        ("./x.whl", NO_WHEEL),
        ("git+https://u:p@github.com/x/y", "its name is not said: NAME @ git+https://github.com/x/y"),
        ("hg+https://example.org/x", "references are git+https: and git+ssh:"),
        ("x ==", "is no requirement (PEP 508): "),
        ("-e .", "a folder has no hash: build a wheel of it, and name that (./dist/x.whl)"),
        ("-e git+https://github.com/x/y", "its name is not said: NAME @ git+https://github.com/x/y"),
        ("--pre", "name the version that you want: NAME==1.0rc1"),
        ("-c limits.txt", "constraints are pip's own configuration (PIP_CONSTRAINT)"),
        ("--require-hashes", "an option of pip, which installs nothing here"),
        ("-r gone.txt", "cannot be read: No such file or directory"),
        ("-f ./wheels", "places are no part of a recipe: envbuilder.toml, or pip's own configuration"),
    ],
)
def test_what_is_left_out(tmp_path: Path, line: str, why: str) -> None:
    found = read(tmp_path, line)
    assert found.requirements == []
    (remark,) = found.remarks
    assert remark.left_out
    assert remark.why.startswith(why)
    assert str(remark).startswith("e.yml:1: ")


def test_credentials_are_not_told(tmp_path: Path) -> None:
    found = read(tmp_path, "--index-url https://user:secret@example.org/simple")
    assert str(found.remarks[0]).startswith("e.yml:1: --index-url https://example.org/simple: places are no")


def test_what_is_said_otherwise(tmp_path: Path) -> None:
    found = read(tmp_path, "-e git+https://github.com/x/y#egg=y", "z==1 --hash=sha256:00")
    assert [str(one) for _, one in found.requirements] == ["y @ git+https://github.com/x/y", "z==1"]
    assert [(one.left_out, one.why) for one in found.remarks] == [
        (False, "as a wheel that is built of it, not editable"),
        (False, "without its options: a lock names every wheel by its hash anyway"),
    ]


@pytest.mark.parametrize("option", ["--index-url ", "-i ", "--extra-index-url="])
def test_the_index_of_pytorch_says_the_variant(tmp_path: Path, option: str) -> None:
    found = read(tmp_path, f"{option}https://download.pytorch.org/whl/cu126")
    assert (found.variant, found.remarks) == ("cu126", [])


def test_files_of_requirements(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("one==1 \\\n  --hash=sha256:00\n\n-r sub/b.txt\n--pre\n")
    (tmp_path / "sub" / "b.txt").write_text("two\n-r ../a.txt\n")
    found = read(tmp_path, "-r a.txt")
    assert [(said.place, str(one)) for said, one in found.requirements] == [
        (f"{tmp_path}/a.txt:1", "one==1"),
        (f"{tmp_path}/sub/b.txt:1", "two"),
    ]
    assert [(one.place, one.why) for one in found.remarks] == [
        (f"{tmp_path}/a.txt:1", "without its options: a lock names every wheel by its hash anyway"),
        (f"{tmp_path}/sub/b.txt:2", "that file names itself"),
        (f"{tmp_path}/a.txt:5", "name the version that you want: NAME==1.0rc1"),
    ]
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    assert read(tmp_path, "-r c.txt").remarks[0].why == "cannot be read: is no UTF-8 text"
