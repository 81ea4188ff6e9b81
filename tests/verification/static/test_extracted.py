"""An archive that was read and extracted, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuilder.archive.manifest import ENVIRONMENT_PATH, MANIFEST_PATH, Manifest, manifest_beside
from envbuilder.errors import VerifyError
from envbuilder.progress import SILENT
from envbuilder.util.version import VERSION
from envbuilder.verification.static.extracted import Archive, open_archive
from tests.helpers.environments import SITE, Tree, environment, manifest, pack, package, tampered
from tests.helpers.packages import distribution

LIBPYTHON = "lib/libpython3.11.so.1.0"


def opened(tree: Tree, folder: Path, *, listed: Tree | None = None) -> Archive:
    folder.mkdir(exist_ok=True)
    return open_archive(pack(tree, folder, listed=listed), folder / "environment", lambda _: [], SILENT)


# -- its manifest ----------------------------------------------------------------------------------


def test_its_manifest_is_read(tmp_path: Path) -> None:
    tree = environment()
    archive = opened(tree, tmp_path, listed=tree)
    assert archive.manifest == manifest(tree)
    assert archive.manifest_error is None
    assert (archive.environment / "bin" / "activate").read_bytes() == b"export PATH\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, f"the archive has no {MANIFEST_PATH}"),
        ("other.json", f"{MANIFEST_PATH} is a link, to other.json"),
        (b"{}", f"{MANIFEST_PATH}: format: is missing"),
        (b"{", f"{MANIFEST_PATH}: is not JSON"),
    ],
)
def test_why_there_is_no_manifest(tmp_path: Path, content: bytes | str | None, said: str) -> None:
    tree = environment() | ({} if content is None else {MANIFEST_PATH: content})
    archive = opened(tree, tmp_path)
    assert archive.manifest is None
    assert archive.manifest_error is not None
    assert archive.manifest_error.startswith(said)


def test_folders_of_this_machine_are_asked_for_with_the_manifest(tmp_path: Path) -> None:
    tree = environment() | {"share/notes": f"made in {tmp_path}/store".encode()}
    asked: list[Manifest | None] = []

    def places(found: Manifest | None) -> list[Path]:
        asked.append(found)
        return [tmp_path / "store"]

    path = pack(tree, tmp_path, listed=tree)
    archive = open_archive(path, tmp_path / "environment", places, SILENT)
    assert asked == [], "not before a check asks"
    assert [str(place) for place in archive.places()] == [str(tmp_path / "store")]
    assert asked == [archive.manifest]


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"none\.tar\.gz: No such file"):
        open_archive(tmp_path / "none.tar.gz", tmp_path / "environment", lambda _: [], SILENT)


# -- who made it -----------------------------------------------------------------------------------


def test_who_else_made_it(tmp_path: Path) -> None:
    tree = environment()
    assert not opened(tree, tmp_path / "ours", listed=tree).is_foreign
    assert opened(tree, tmp_path / "theirs").is_foreign
    assert not opened(tree | {ENVIRONMENT_PATH: b"{}"}, tmp_path / "gone").is_foreign
    beside = opened(tree, tmp_path / "beside")
    manifest_beside(beside.path).write_text("{}")
    assert not beside.is_foreign


def test_what_is_cut_short_may_have_lost_its_manifest(tmp_path: Path) -> None:
    path = tampered(pack(environment(), tmp_path), lambda data: data[:-2000])
    assert not open_archive(path, tmp_path / "a", lambda _: [], SILENT).is_foreign
    other = path.rename(tmp_path / "own.tar.gz")
    assert open_archive(other, tmp_path / "b", lambda _: [], SILENT).is_foreign, "no build names it so"


def test_whether_this_version_built_it(tmp_path: Path) -> None:
    tree = environment()
    archive = opened(tree, tmp_path, listed=tree)
    assert not archive.same_tool
    assert archive.manifest is not None
    own = replace(archive.manifest, tools={"envbuilder": VERSION})
    assert replace(archive, manifest=own).same_tool
    assert not replace(archive, manifest=None).same_tool


def test_whether_a_file_is_as_it_was_built(tmp_path: Path) -> None:
    tree = environment()
    archive = opened(tree | {"bin/activate": b"changed"}, tmp_path / "1", listed=tree)
    assert archive.is_as_built(LIBPYTHON) is True
    assert archive.is_as_built("bin/activate") is False
    assert archive.is_as_built("bin/more") is False
    assert opened(tree, tmp_path / "2").is_as_built(LIBPYTHON) is None


# -- what is in it ---------------------------------------------------------------------------------


def test_packages_by_their_normalized_names(tmp_path: Path) -> None:
    tree = environment() | package("Zope.Event", "5.0") | distribution("alpha", {"alpha/m.py": b"1"})
    archive = opened(tree, tmp_path, listed=tree)
    assert archive.packages == {
        "torch": "2.13.0+cpu",
        "numpy": "1.26.4",
        "zope-event": "5.0",
        "alpha": "1.0",
    }
    assert archive.owner(f"{SITE}/alpha/m.py") == "alpha"
    assert archive.owner("bin/activate") is None
    foreign = opened(tree, tmp_path / "foreign")
    assert foreign.packages["zope-event"] == "5.0"


def test_the_interpreters_that_it_has_a_library_of(tmp_path: Path) -> None:
    tree = environment()
    other: Tree = {
        **tree,
        "lib/libpython3.12.so.1.0": "gone",
        "lib/libpython3.so": b"",
        "x/libpython3.9.so.1.0": b"",
    }
    archive = opened(other, tmp_path)
    assert archive.libpythons == ["3.11", "3.12"]
    assert archive.holds(LIBPYTHON)
    assert not archive.holds("lib/libpython3.12.so.1.0"), "a link that leads nowhere"


def test_files_behind_links(tmp_path: Path) -> None:
    tree: Tree = {
        "bin/one": b"1",
        "bin/two": "one",
        "lib64": "bin",
        "out": "/etc/passwd",
        "up": "../outside",
        "loop": "loop",
    }
    archive = opened(tree, tmp_path)
    assert archive.file("bin/two") == archive.environment / "bin" / "one"
    assert archive.file("lib64/two") == archive.environment / "bin" / "one"
    for path in ("out", "up", "loop", "bin", "bin/three"):
        assert archive.file(path) is None, path
        assert not archive.holds(path)


@pytest.mark.parametrize(
    ("said", "compiler"),
    [
        ({"variables": {"CXX": "{prefix}/bin/x-g++", "CC": "{prefix}/bin/x-gcc"}}, "bin/x-g++"),
        ({"variables": {}}, None),
        ({"variables": {"CXX": 3}}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_compiler_that_it_brings_along(tmp_path: Path, said: Any, compiler: str | None) -> None:
    more: Tree = {} if said is None else {ENVIRONMENT_PATH: json.dumps(said).encode()}
    assert opened(environment() | more, tmp_path).compiler == compiler


def test_a_folder_around_everything(tmp_path: Path) -> None:
    tree = environment()
    inside: Tree = {f"my-env/{path}": content for path, content in tree.items()}
    assert opened(inside, tmp_path / "1").around == "my-env"
    assert opened(tree, tmp_path / "2").around == ""


def test_what_a_manifest_would_say_of_it(tmp_path: Path) -> None:
    archive = opened(environment(), tmp_path)
    assert archive.measured.torch == "2.13.0+cpu"
    assert archive.measured.python.startswith("3.11")
    assert archive.linking.highest_glibc() is not None
    assert archive.build_paths is archive.build_paths, "it is looked for once"
