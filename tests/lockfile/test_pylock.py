from __future__ import annotations

import dataclasses
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.pylock import Pylock, is_valid_pylock_path

from envbuilder.errors import IntegrityError, StaleLockError
from envbuilder.lockfile.model import Artifact, CondaPackage, Lock, LockedConda, LockedInterpreter
from envbuilder.lockfile.pylock import (
    LockFormatError,
    NewerLockError,
    lock_path,
    lock_text,
    parse_lock,
    read_lock,
    write_lock,
)
from envbuilder.recipe.load import load_recipe
from envbuilder.util.printable import is_plain
from envbuilder.util.resources import shipped_recipes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCK = Lock(
    recipe="mine",
    recipe_digest="a" * 64,
    release="pytriton-0.7.0",
    python="3.11",
    torch="2.13.0+cpu",
    cuda="cpu",
    demands=("numpy<2",),
    artifacts=(
        Artifact(
            name="numpy",
            version="1.26.4",
            filename="numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            sha256="b" * 64,
            size=18252005,
        ),
        Artifact(
            name="torch",
            version="2.13.0+cpu",
            filename="torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl",
            sha256="c" * 64,
            size=191794682,
        ),
    ),
    interpreter=LockedInterpreter(version="3.11.7", origin="host", digest="d" * 64),
    tools=(("uv", "0.13.9"),),
)

CONDA_LOCK = dataclasses.replace(
    LOCK,
    conda=LockedConda(
        packages=(
            CondaPackage(
                name="libstdcxx",
                version="13.2.0",
                build="h0_3",
                channel="conda-forge",
                subdir="linux-64",
                filename="libstdcxx-13.2.0-h0_3.conda",
                sha256="9" * 64,
                size=9,
            ),
            CondaPackage(
                name="greeting",
                version="1!1.0",
                build="py_0",
                channel="conda-forge",
                subdir="noarch",
                filename="greeting-1!1.0-py_0.tar.bz2",
                sha256="b" * 64,
                size=7,
            ),
        ),
        provides=(("greeting", "1!1.0"),),
    ),
)

ENVIRONMENT = (
    "sys_platform == 'linux' and platform_machine == 'x86_64'"
    " and implementation_name == 'cpython' and python_version == '3.11'"
)


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "pylock.mine.toml"
    built = dataclasses.replace(LOCK, built=(("numpy", "sdist:" + "e" * 64),))
    for lock in (LOCK, built, CONDA_LOCK):
        write_lock(lock, path)
        assert read_lock(path) == lock


def test_the_text_of_a_lock() -> None:
    text = lock_text(dataclasses.replace(LOCK, artifacts=LOCK.artifacts[:1]))
    wheel = LOCK.artifacts[0].filename
    assert (
        text
        == f"""\
# The lock of recipe mine. Written by `envbuilder lock`; an edit by hand is found and refused.
lock-version = "1.0"
environments = ["{ENVIRONMENT}"]
requires-python = "==3.11.*"
created-by = "envbuilder"

[[packages]]
name = "numpy"
version = "1.26.4"
wheels = [
    {{ name = "{wheel}", path = "wheelhouse/{wheel}", size = 18252005, hashes = {{ sha256 = "{"b" * 64}" }} }},
]

[tool.envbuilder]
format = 1
recipe = "mine"
recipe-digest = "{"a" * 64}"
release = "pytriton-0.7.0"
python = "3.11"
torch = "2.13.0+cpu"
cuda = "cpu"
demands = ["numpy<2"]
interpreter = {{ version = "3.11.7", origin = "host", digest = "{"d" * 64}" }}
tools = {{ uv = "0.13.9" }}
digest = "3bd42b55b508980fd4179fe79e1817d6f2d655804087d7a65dbd60872a413d22"
"""
    )


def test_a_lock_is_valid_by_pep_751(tmp_path: Path) -> None:
    lock = Pylock.from_dict(tomllib.loads(lock_text(LOCK)))
    assert [package.name for package in lock.packages] == ["numpy", "torch"]
    assert is_valid_pylock_path(tmp_path / "pylock.mine.toml")


def test_a_lock_lies_beside_its_recipe() -> None:
    recipe = load_recipe(shipped_recipes() / "cpu.yaml")
    assert lock_path(recipe) == recipe.path.parent / "pylock.cpu.toml"


@pytest.mark.parametrize("name", ["cpu", "cuda"])
def test_the_locks_that_come_along_belong_to_their_recipes_and_name_no_place(name: str) -> None:
    recipe = load_recipe(shipped_recipes() / f"{name}.yaml")
    text = lock_path(recipe).read_text()
    lock = read_lock(lock_path(recipe))
    assert lock.recipe_digest == recipe.digest()
    assert lock.torch == recipe.torch_version
    assert "://" not in text
    assert all(path.startswith("wheelhouse/") for path in text.split('path = "')[1:])


# -- writing ---------------------------------------------------------------------------------------


def test_a_lock_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pylock.mine.toml"
    write_lock(LOCK, path)
    before = path.read_bytes()

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_lock(dataclasses.replace(LOCK, torch="2.14.0+cpu"), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_lock_has_the_mode_of_any_file(tmp_path: Path) -> None:
    path = tmp_path / "pylock.mine.toml"
    before = os.umask(0o027)
    try:
        write_lock(LOCK, path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# -- bad input -------------------------------------------------------------------------------------

AGAIN = "locks are written by `envbuilder lock` only: write it again, or restore it"
EDITED = "run `envbuilder lock` again; make changes in the recipe"
SIZE = "expected an integer from 0 to 1099511627776"
NEWER = "update envbuilder, or remove the lock and write it again with this one"


def change(old: str, new: str) -> Callable[[str], str]:
    def changed(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return changed


BAD: dict[str, tuple[Callable[[str], str], str, str]] = {
    "another version": (change('version = "1.26.4"', 'version = "1.26.4"\nindex = "https://example.org"'),
        "was changed after it was written", EDITED),
    "another hash": (change("b" * 64, "e" * 64), "was changed after it was written", EDITED),
    "another size": (change("18252005", "1"), "was changed after it was written", EDITED),
    "a package less": (lambda text: text[: text.index("[[packages]]")] + text[text.rindex("[[packages]]") :],
        "was changed after it was written", EDITED),
    "a key more": (lambda text: text + "[tool.other]\nx = 1\n", "was changed after it was written", EDITED),
    "another digest": (lambda text: text.replace(text[-66:], "f" * 64 + '"\n'),
        "was changed after it was written", EDITED),
    "a path that leads out": (change("wheelhouse/numpy", "../numpy"), "was changed after it was written", EDITED),
    "no digest": (lambda text: text[: text.index("digest = ", text.index("tools = "))],
        "was changed after it was written", EDITED),
    "cut off in a string": (lambda text: text[:600],
        "is not TOML: Unterminated string (at end of document)", AGAIN),
    "cut off between packages": (lambda text: text[: text.rindex("[[packages]]")],
        "is no lock of envbuilder, or was cut off: it has no [tool.envbuilder]", AGAIN),
    "cut off in the tool's table": (lambda text: text[: text.index("interpreter = ")],
        "tool.envbuilder.interpreter: is missing; expected an object", AGAIN),
    "nothing": (lambda text: "", "is no lock of envbuilder, or was cut off: it has no [tool.envbuilder]", AGAIN),
    "another tool's": (lambda text: 'lock-version = "1.0"\ncreated-by = "x"\npackages = []\ntool = 5\n',
        "is no lock of envbuilder, or was cut off: it has no [tool.envbuilder]", AGAIN),
    "a merge conflict": (change('version = "1.26.4"', '<<<<<<< HEAD\nversion = "1.26.4"'),
        "is not TOML: Invalid statement (at line 9, column 1)", AGAIN),
    "two wheels": (change("wheels = [", 'wheels = [\n{ name = "numpy-1.26.4-py3-none-any.whl", '
        'path = "x/numpy-1.26.4-py3-none-any.whl", hashes = { sha256 = "x" } },'),
        "packages[0].wheels: 2 wheels, not one", AGAIN),
    "no size": (change("size = 18252005, ", ""), f"packages[0].wheels[0].size: is missing; {SIZE}", AGAIN),
    "a size below nothing": (change("size = 1", "size = -1"),
        f"packages[0].wheels[0].size: {SIZE}, found -18252005", AGAIN),
    "a size in words": (change("size = 18252005", 'size = "big"'),
        "packages[0].wheels[0].size: Unexpected type str (expected int)", AGAIN),
    "no hash": (change("b" * 64, "b" * 63),
        f"packages[0].wheels[0].hashes.sha256: expected 64 hex digits, found '{'b' * 60}'…", AGAIN),
    "a name that leads out": (
        lambda text: text.replace(f'name = "{LOCK.artifacts[0].filename}"', 'name = "numpy-1.26.4-py3-none-any/x.whl"'),
        "packages[0].wheels[0].name: expected the file name of a wheel of numpy 1.26.4, found 'numpy-1.26.4-py3-none-any/x.whl'",  # noqa: E501 - the error whole
        AGAIN),
    "a wheel of another project": (change('name = "numpy"', 'name = "nmpy"'),
        f"packages[0].wheels[0]: Name in '{LOCK.artifacts[0].filename}' is not consistent with package name 'nmpy'",
        AGAIN),
    "demands of another type": (change('["numpy<2"]', "[2]"),
        "tool.envbuilder.demands[0]: expected a line of text, found 2", AGAIN),
    "true for a number": (change("format = 1", "format = true"),
        "tool.envbuilder.format: expected an integer from 0 to 2^63 - 1, found true", AGAIN),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_lock(tmp_path: Path, case: str) -> None:
    edit, message, hint = BAD[case]
    path = tmp_path / "pylock.mine.toml"
    path.write_text(edit(lock_text(LOCK)))
    with pytest.raises(IntegrityError) as caught:
        read_lock(path)
    assert caught.value.message == f"{path}: {message}"
    assert caught.value.hint == hint
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'subdir = "noarch"',
            'subdir = "../x"',
            "packages[1].subdir: expected 'linux-64' or 'noarch', found '../x'",
        ),
        (
            '"greeting-1!1.0-py_0.tar.bz2"',
            '"../x.conda"',
            "packages[1].file-name: expected the file name of a conda package, found '../x.conda'",
        ),
        (
            '"greeting-1!1.0-py_0.tar.bz2"',
            '"x.whl"',
            "packages[1].file-name: expected the file name of a conda package, found 'x.whl'",
        ),
        ("size = 7", "size = -7", f"packages[1].size: {SIZE}, found -7"),
        ("9" * 64, "X" * 64, f"packages[0].sha256: expected 64 hex digits, found '{'X' * 60}'…"),
        ('build = "h0_3", ', "", "packages[0].build: is missing; expected a conda build string"),
        ('provides = { greeting = "1!1.0" }', "provides = 3", "provides: expected an object, found 3"),
        ('version = "13.2.0"', 'version = "13.2.1"', None),
    ],
)
def test_a_lock_of_conda_packages_that_is_wrong(
    tmp_path: Path, old: str, new: str, message: str | None
) -> None:
    path = tmp_path / "pylock.mine.toml"
    text = lock_text(CONDA_LOCK)
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(IntegrityError) as caught:
        read_lock(path)
    expected = f"tool.envbuilder.conda.{message}" if message else "was changed after it was written"
    assert caught.value.message == f"{path}: {expected}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "format = 1",
            "format = 3\nnews = true",
            "tool.envbuilder.format: written by a newer envbuilder: the format is 3, and this one reads up to 2",
        ),
        ('"1.0"', '"1.1"', "lock-version: is '1.1', and this envbuilder reads '1.0'"),
        ('"1.0"', '"2.0"', "lock-version: is '2.0', and this envbuilder reads '1.0'"),
    ],
)
def test_a_lock_of_a_newer_format(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "pylock.mine.toml"
    path.write_text(lock_text(LOCK).replace(old, new))
    with pytest.raises(NewerLockError) as caught:
        read_lock(path)
    assert (caught.value.message, caught.value.hint) == (f"{path}: {message}", NEWER)
    assert caught.value.exit_code == 5


def test_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "pylock.mine.toml"
    with pytest.raises(StaleLockError) as caught:
        read_lock(path)
    assert (caught.value.message, caught.value.hint) == (
        f"recipe mine is not locked: there is no {path}",
        "envbuilder lock mine",
    )
    assert caught.value.exit_code == 3


def test_a_lock_that_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError) as caught:
        read_lock(tmp_path)
    assert caught.value.message == f"{tmp_path}: cannot be read: is a folder, not a file"


def test_comments_and_spaces_are_no_edit() -> None:
    text = lock_text(LOCK).replace("\n\n", "\n# mind the gap\n\n").replace("{ ", "{   ")
    assert parse_lock(text.encode()) == LOCK


# -- properties ------------------------------------------------------------------------------------

_hashes = st.text("0123456789abcdef", min_size=64, max_size=64)
_lines = st.text(min_size=1, max_size=20).filter(is_plain)
_conda_names = st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,9}", fullmatch=True)
_conda_versions = st.from_regex(r"[a-z0-9_.!+]{1,9}", fullmatch=True)
_names = st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)?", fullmatch=True)
_versions = st.from_regex(r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)(\+cu[1-9][0-9])?", fullmatch=True)


@st.composite
def _artifacts(draw: st.DrawFn) -> Artifact:
    name, version = draw(_names), draw(_versions)
    return Artifact(
        name=name,
        version=version,
        filename=f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
        sha256=draw(_hashes),
        size=draw(st.integers(0, 2**40)),
    )


_conda = st.builds(
    LockedConda,
    packages=st.lists(
        st.builds(
            CondaPackage,
            name=_conda_names,
            version=_conda_versions,
            build=st.from_regex(r"[a-z0-9_.+]{1,9}", fullmatch=True),
            channel=_lines,
            subdir=st.sampled_from(["linux-64", "noarch"]),
            filename=st.sampled_from(["a-1-0.conda", "b_c-2.0-py_0.tar.bz2"]),
            sha256=_hashes,
            size=st.integers(0, 2**40),
        ),
        max_size=3,
        unique_by=lambda package: package.name,
    ).map(tuple),
    provides=st.dictionaries(_names, _lines, max_size=3).map(lambda found: tuple(found.items())),
)


_locks = st.builds(
    Lock,
    recipe=_names,
    recipe_digest=_hashes,
    release=st.sampled_from(["pytriton-0.7.0", "24.10", "25.06"]),
    python=st.sampled_from(["3.8", "3.12"]),
    torch=_versions,
    cuda=st.sampled_from(["cpu", "pypi", "cu126"]),
    demands=st.lists(_lines, max_size=3).map(tuple),
    artifacts=st.lists(_artifacts(), min_size=1, max_size=4, unique_by=lambda artifact: artifact.name).map(
        tuple
    ),
    interpreter=st.builds(
        LockedInterpreter,
        version=st.sampled_from(["3.8.20", "3.12.3"]),
        origin=_lines,
        digest=_hashes,
    ),
    tools=st.dictionaries(_names, _lines, max_size=3).map(lambda tools: tuple(tools.items())),
    built=st.dictionaries(_names, _lines, max_size=3).map(lambda built: tuple(built.items())),
    conda=st.none() | _conda,
)


@settings(max_examples=200, deadline=None)
@given(lock=_locks)
def test_any_lock_is_read_as_it_was_written(lock: Lock) -> None:
    assert parse_lock(lock_text(lock).encode()) == lock


def is_lock_or_refused(data: bytes) -> bool:
    try:
        return isinstance(parse_lock(data), Lock)
    except LockFormatError as error:
        return bool(error.message)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_lock_or_an_error(data: bytes) -> None:
    assert is_lock_or_refused(data)


@settings(max_examples=300, deadline=None)
@given(start=st.integers(0, 2200), length=st.integers(0, 80), new=st.text(max_size=20))
def test_any_edit_is_harmless_or_refused(start: int, length: int, new: str) -> None:
    text = lock_text(LOCK)
    edited = (text[:start] + new + text[start + length :]).encode(errors="surrogatepass")
    try:
        assert parse_lock(edited) == LOCK
    except LockFormatError as error:
        assert error.message  # noqa: PT017 - one of two outcomes, both allowed
