"""What is to be done about an environment of another tool's: done as the hint says, it cures what was found."""

from __future__ import annotations

import re
import shlex
import subprocess
import tarfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers.channels import Cut, make_channel
from tests.helpers.environments import (
    SITE,
    Tree,
    environment,
    failures,
    pack,
    package,
    system_libstdcxx,
    verdicts,
)
from tests.helpers.foreign import make_prefix
from tests.helpers.libraries import shared_library

NATIVE = f"{SITE}/native.so"


def _old_library() -> bytes:
    return shared_library(soname="libstdc++.so.6", defines=("GLIBCXX_3.4", "GLIBCXX_3.4.19"))


def old_libstdcxx() -> Tree:
    return {"lib/libstdc++.so.6": _old_library()}


def with_python(minor: str, tree: Tree) -> Tree:
    return {path.replace("3.11", minor): data for path, data in tree.items()}


def record(name: str, version: str, files: Tree) -> Tree:
    """What conda writes down of a package."""
    paths = ", ".join(f'"{path}"' for path in files)
    text = f'{{"name": "{name}", "version": "{version}", "build": "0", "files": [{paths}]}}'
    return {**files, f"conda-meta/{name}-{version}-0.json": text.encode()}


def without(tree: Tree, *patterns: str) -> Tree:
    return {path: data for path, data in tree.items() if not any(re.search(one, path) for one in patterns)}


def failed(tree: Tree, folder: Path, release: str, id: str) -> str:
    """Verify *tree*, which fails in *id* and nothing else; return the hint."""
    folder.mkdir()
    wrong = failures(verdicts(pack(tree, folder), folder, release=release))
    assert wrong.keys() == {id}
    hint = wrong[id][1]
    assert hint is not None
    return hint


def assert_cured(tree: Tree, folder: Path, release: str) -> None:
    folder.mkdir()
    assert failures(verdicts(pack(tree, folder), folder, release=release)) == {}


def command(hint: str, program: str) -> list[str]:
    """The words of the command with *program* in *hint*."""
    return shlex.split(next(one for one in re.findall("`([^`]+)`", hint) if program in one))


class Conda:
    """conda, as far as hints name it: with rattler's solver, and a channel of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        native = [
            Cut(
                name="native",
                version=version,
                depends=[f"__glibc >={glibc}"],
                files={NATIVE: shared_library(asks=asks)},
            )
            for version, glibc, asks in (
                ("2.0", "2.36", ("libc.so.6", "GLIBC_2.36")),
                ("1.0", "2.17", ("libc.so.6", "GLIBC_2.17")),
            )
        ]
        libraries = [
            Cut(name="libstdcxx-ng", version="12.2.0", files={"lib/libstdc++.so.6": system_libstdcxx()}),
            Cut(
                name="libstdcxx-ng",
                version="11.1.0",
                files={"lib/libstdc++.so.6": _old_library()},
            ),
            Cut(name="libstdcxx", version="12.2.0", files={"lib/libstdc++.so.6": system_libstdcxx()}),
        ]
        self._folder, self._monkeypatch = folder, monkeypatch
        self._channel = make_channel(folder / "channel", [*native, *libraries])

    def run(self, words: list[str], tree: Tree) -> Tree:
        """Return *tree* after the command *words*."""
        if "=" in words[0]:
            self._monkeypatch.setenv(*words.pop(0).split("="))
        program, verb, *rest = words
        assert program == "conda"
        *options, spec = rest
        name = re.split("[<>=]", spec)[0]
        gone = [one for one in tree if one.startswith(f"conda-meta/{name}-")]
        removed = without(
            tree, rf"^conda-meta/{name}-\d", *(["libstdc"] if "libstdc" in name else ["native"])
        )
        if verb == "remove":
            assert options == ["--force"]
            assert gone
            return removed
        assert verb == "install"
        prefix = make_prefix(self._channel, self._folder / "installed", [spec])
        files = [path for path in prefix.rglob("*") if path.is_file()]
        installed: Tree = {str(path.relative_to(prefix)): path.read_bytes() for path in files}
        return removed | installed


@pytest.fixture
def conda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conda:
    return Conda(tmp_path, monkeypatch)


@pytest.mark.parametrize("verb", ["install", "remove"])
def test_libstdcxx_of_conda_too_old_for_the_stub(tmp_path: Path, conda: Conda, verb: str) -> None:
    old = old_libstdcxx()
    tree = environment() | record("libstdcxx-ng", "11.1.0", old)
    hint = failed(tree, tmp_path / "a", "pytriton-0.7.0", "system.libstdcxx")
    assert_cured(conda.run(command(hint, f"conda {verb}"), tree), tmp_path / "b", "pytriton-0.7.0")


def test_libstdcxx_that_a_package_needs_is_not_to_be_removed(tmp_path: Path) -> None:
    old = old_libstdcxx()
    asks: Tree = {NATIVE: shared_library(asks=("libstdc++.so.6", "GLIBCXX_3.4.31"))}
    tree = with_python("3.10", environment() | record("libstdcxx-ng", "11.1.0", old) | asks)
    (tmp_path / "a").mkdir()
    wrong = failures(verdicts(pack(tree, tmp_path / "a"), tmp_path / "a", release="24.10"))
    assert wrong["system.libstdcxx"][1] == (
        "`conda install --channel conda-forge 'libstdcxx-ng>=13.1'`, and pack it again"
    )


def test_libstdcxx_of_nobody_too_old_for_the_stub(tmp_path: Path) -> None:
    tree = environment() | old_libstdcxx()
    hint = failed(tree, tmp_path / "a", "pytriton-0.7.0", "system.libstdcxx")
    assert (
        hint == "delete lib/libstdc++.so.6* in it, and pack it again: the server's own version is new enough"
    )
    assert_cured(without(tree, r"^lib/libstdc\+\+\.so\.6"), tmp_path / "b", "pytriton-0.7.0")


def test_libstdcxx_missing_for_a_package_of_conda(tmp_path: Path, conda: Conda) -> None:
    asks: Tree = {NATIVE: shared_library(asks=("libstdc++.so.6", "GLIBCXX_3.4.31"))}
    tree = with_python("3.10", environment() | record("native", "1.0", asks))
    hint = failed(tree, tmp_path / "a", "24.10", "system.glibcxx")
    assert command(hint, "conda") == ["conda", "install", "--channel", "conda-forge", "libstdcxx>=13.1"]
    newer = {
        "lib/libstdc++.so.6": shared_library(
            soname="libstdc++.so.6", defines=("GLIBCXX_3.4.30", "GLIBCXX_3.4.31")
        )
    }
    assert_cured(tree | newer, tmp_path / "b", "24.10")


@pytest.mark.parametrize(
    ("asks", "id"),
    [(("libstdc++.so.6", "GLIBCXX_3.4.33"), "system.glibcxx"), (("libc.so.6", "GLIBC_2.39"), "system.glibc")],
)
def test_a_wheel_for_a_newer_system(tmp_path: Path, asks: tuple[str, str], id: str) -> None:
    own = without(with_python("3.12", environment()), "numpy-")
    info = {
        path.replace("3.11", "3.12"): data
        for path, data in (package("native", "2.0") | package("numpy", "2.1.0")).items()
    }
    native = NATIVE.replace("3.11", "3.12")
    info[f"{native.rpartition('/')[0]}/native-2.0.dist-info/RECORD"] = b"native.so,,\n"
    tree = own | info | {native: shared_library(asks=asks)}
    folder = tmp_path / "a"
    folder.mkdir()
    hint = failures(verdicts(pack(tree, folder), folder, release="24.10"))[id][1]
    assert hint is not None
    version, wheel = re.match(
        r"install a version of (\w+) whose wheel is for (\w+) or older, and pack it again", hint
    ).groups()  # type: ignore[union-attr]
    assert (version, wheel) == ("native", "manylinux_2_35")
    other = re.search(r"; or serve it with (\S+) \S+ (\S+) or ", hint)
    assert other is not None
    for number, release in enumerate(other.groups()):  # as the hint says, too
        assert_cured(tree, tmp_path / f"b{number}", release)


def test_a_package_of_conda_for_a_newer_system(tmp_path: Path, conda: Conda) -> None:
    native: Tree = {NATIVE: shared_library(asks=("libc.so.6", "GLIBC_2.36"))}
    tree = with_python("3.10", environment()) | record("native", "2.0", native)
    hint = failed(tree, tmp_path / "a", "24.10", "system.glibc")
    assert_cured(conda.run(command(hint, "conda"), tree), tmp_path / "b", "24.10")


def test_an_interpreter_for_a_newer_system(tmp_path: Path) -> None:
    library = shared_library(soname="libpython3.10.so.1.0", asks=("libc.so.6", "GLIBC_2.38"))
    tree = with_python("3.10", environment()) | {"lib/libpython3.10.so.1.0": library}
    hint = failed(tree, tmp_path / "a", "24.10", "system.glibc")
    assert hint.startswith(
        "create the environment on a system with glibc 2.35 or older, or with conda-forge's python"
    )


@pytest.mark.parametrize("by_conda", [True, False])
@pytest.mark.parametrize("there", [True, False])
def test_numpy(tmp_path: Path, by_conda: bool, there: bool) -> None:
    wrong = package("numpy", "2.1.0") if there else {}
    tree = without(environment(), "numpy-") | record("python", "3.11.7", {})
    tree |= record("numpy", "2.1.0", wrong) if there and by_conda else wrong
    hint = failed(tree, tmp_path / "a", "pytriton-0.7.0", "system.demands")
    words = shlex.split(re.findall("`([^`]+)`", hint)[0])
    conda = by_conda or not there  # what is in it stays with who brought it
    assert words[:-1] == (["conda", "install"] if conda else ["ENV/bin/python3", "-m", "pip", "install"])
    assert Requirement(words[-1]).specifier.contains("1.26.4")
    assert_cured(without(tree, "numpy-") | package("numpy", "1.26.4"), tmp_path / "b", "pytriton-0.7.0")


def test_another_release_is_named_where_one_takes_it(tmp_path: Path) -> None:
    tree = with_python("3.12", without(environment(), "numpy-") | package("numpy", "2.1.0"))
    hint = failed(tree, tmp_path / "a", "pytriton-0.7.0", "system.demands")
    assert "; or serve it with 24.11 \N{EN DASH} 25.07 or " in hint
    assert_cured(tree, tmp_path / "b", "25.07")
    none = failed(
        with_python("3.11", without(environment(), "numpy-")),
        tmp_path / "c",
        "pytriton-0.7.0",
        "system.demands",
    )
    assert "serve it with" not in none


@pytest.mark.parametrize("conda", [True, False])
def test_another_python(tmp_path: Path, conda: bool) -> None:
    def tree(minor: str) -> Tree:
        return with_python(minor, environment()) | (record("python", f"{minor}.7", {}) if conda else {})

    hint = failed(tree("3.11"), tmp_path / "a", "24.10", "layout.libpython")
    wanted = (
        command(hint, "conda create")[-2]
        if conda
        else re.findall(r"with Python (\S+), using conda-pack", hint)[0]
    )
    assert_cured(tree(wanted.removeprefix("python=")), tmp_path / "b", "24.10")
    other = failed(tree("3.10"), tmp_path / "c", "26.06", "layout.libpython")
    assert "; or serve it with 23.08 \N{EN DASH} 24.10, which accepts it as it is; " in other
    assert_cured(tree("3.10"), tmp_path / "d", "24.10")


def test_no_activate(tmp_path: Path) -> None:
    tree = without(environment(), "bin/activate")
    hint = failed(tree, tmp_path / "a", "pytriton-0.7.0", "layout.activate")
    line, tar = re.findall("`([^`]+)`", hint)
    with tarfile.open(pack(tree, tmp_path)) as archive:
        archive.extractall(tmp_path / "ENV", filter="data")
    (tmp_path / "ENV" / "bin" / "activate").write_text(f"{line}\n")
    subprocess.run(shlex.split(tar), cwd=tmp_path, check=True)
    (tmp_path / "b").mkdir()
    assert failures(verdicts(tmp_path / "NAME.tar.gz", tmp_path / "b")) == {}
    sourced = f"source {tmp_path}/ENV/bin/activate && command -v python3"
    found = subprocess.run(["bash", "-c", sourced], cwd="/", check=True, capture_output=True, text=True)
    assert found.stdout.strip() == str(tmp_path / "ENV" / "bin" / "python3")
    of_conda = tree | record("python", "3.11.7", {})
    hint = failed(of_conda, tmp_path / "c", "pytriton-0.7.0", "layout.activate")
    assert hint == "pack it with conda-pack: `conda-pack --prefix ENV --output NAME.tar.gz`, which writes it"
