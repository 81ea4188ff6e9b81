"""The packages of an environment that somebody else built, as conda and pip wrote them down in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from envbuilder.foreign.packages import CondaRecord, PipPackage, editable_paths, find_packages

SITE = "lib/python3.11/site-packages"
TOOL: dict[str, Any] = {
    "name": "tool",
    "version": "1.2",
    "build": "h1_0",
    "subdir": "linux-64",
    "channel": "https://conda.example.org/t/tk-secret/team/linux-64",
    "fn": "tool-1.2-h1_0.conda",
    "url": "https://conda.example.org/team/linux-64/tool-1.2-h1_0.conda",
    "sha256": "1" * 64,
    "size": 5,
    "files": ["bin/tool"],
    "depends": ["libc >=2", "python"],
}


def conda(**changes: Any) -> CondaRecord:
    """Return what is made of the record of ``tool`` with *changes*; None takes a field away."""
    record = {key: value for key, value in {**TOOL, **changes}.items() if value is not None}
    (found,) = find_packages({"conda-meta/tool-1.2-h1_0.json": json.dumps(record).encode()}).conda
    return found


def pip(version: str = "1.0", name: str = "alpha", **files: str) -> PipPackage:
    """Return what is made of a package of pip's; *files* are beside its METADATA."""
    folder = f"{SITE}/{name}-{version}.dist-info"
    texts = {f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()}
    texts |= {f"{folder}/{path.replace('_json', '.json')}": text.encode() for path, text in files.items()}
    (found,) = find_packages(texts).pip
    return found


# -- conda -----------------------------------------------------------------------------------------


def test_what_conda_wrote_down() -> None:
    found = conda()
    package = found.package
    assert (package.name, package.version, package.build, package.subdir) == (
        "tool",
        "1.2",
        "h1_0",
        "linux-64",
    )
    assert (package.filename, package.sha256, package.size) == ("tool-1.2-h1_0.conda", "1" * 64, 5)
    assert package.channel == "team"
    assert found.channel == "https://conda.example.org/t/tk-secret/team"
    assert (found.files, found.depends) == (frozenset({"bin/tool"}), ("libc", "python"))


@pytest.mark.parametrize(
    ("changes", "filename"),
    [
        ({"fn": "tool-1.2-h1_0"}, "tool-1.2-h1_0.conda"),
        ({"fn": "tool-1.2-h1_0", "url": None}, "tool-1.2-h1_0.tar.bz2"),
        ({"fn": "x.conda", "url": None}, "tool-1.2-h1_0.conda"),
        ({"fn": None, "url": "https://x.org/a.tar.bz2"}, "tool-1.2-h1_0.tar.bz2"),
    ],
)
def test_a_package_is_called_as_its_record_is(changes: dict[str, Any], filename: str) -> None:
    assert conda(**changes).package.filename == filename


def test_a_record_that_says_next_to_nothing() -> None:
    found = conda(**dict.fromkeys([*TOOL], None) | {"name": "tool", "version": "1.2"})
    package = found.package
    assert (package.build, package.subdir, package.channel) == ("h1_0", "linux-64", "unknown")
    assert (package.sha256, package.size, found.files, found.depends) == ("", 0, frozenset(), ())


def test_hashes_are_of_files_into_which_no_prefix_was_written() -> None:
    paths = [
        {"_path": "a", "sha256": "a" * 64},
        {"_path": "b", "sha256": "b" * 64, "prefix_placeholder": "/opt/x"},
        {"_path": "c", "sha256": "c" * 64, "sha256_in_prefix": "d" * 64},
        {"_path": "d"},
    ]
    assert conda(paths_data={"paths": paths}).hashes == {"a": "a" * 64}


@pytest.mark.parametrize(
    ("changes", "requested"),
    [
        ({}, ()),
        ({"requested_specs": ["tool", "tool >=1"]}, ("tool", "tool >=1")),
        ({"requested_spec": "tool=1"}, ("tool=1",)),
        ({"requested_spec": "None"}, ()),
    ],
)
def test_what_a_person_asked_for(changes: dict[str, Any], requested: tuple[str, ...]) -> None:
    assert conda(**changes).requested == requested


@pytest.mark.parametrize(
    "changes",
    [{"name": "../x"}, {"version": None}, {"sha256": "1"}, {"files": ["../x"]}, {"subdir": "win-64"}],
)
def test_a_record_that_cannot_be_understood(changes: dict[str, Any]) -> None:
    texts = {
        "conda-meta/tool-1.2-h1_0.json": json.dumps({**TOOL, **changes}).encode(),
        "conda-meta/x-1-0.json": b'{"name": "x", "version": "1"}',
    }
    found = find_packages(texts)
    assert [one.package.name for one in found.conda] == ["x"], "the others are read"
    (why,) = found.unread
    assert why.startswith("conda-meta/tool-1.2-h1_0.json: ")


# -- pip -------------------------------------------------------------------------------------------


def test_a_project_of_a_conda_package_is_none_of_pips() -> None:
    metadata = f"{SITE}/Alpha_X-1.dist-info/METADATA"
    record = {**TOOL, "files": [metadata]}
    texts = {
        "conda-meta/tool-1.2-h1_0.json": json.dumps(record).encode(),
        metadata: b"Name: Alpha_X\nVersion: 1\n",
        f"{SITE}/beta-2.egg-info": b"Name: beta\nVersion: 2\n",
        f"{SITE}/gamma-3.egg-info/PKG-INFO": b"Name: gamma\nVersion: 3\n",
        f"{SITE}/alpha/_vendor/delta-4.dist-info/METADATA": b"Name: delta\nVersion: 4\n",
    }
    found = find_packages(texts)
    assert found.provides == {"alpha-x": "1"}
    assert [one.package.name for one in found.pip] == ["beta", "gamma"]
    assert found.versions == {"alpha-x": "1", "beta": "2", "gamma": "3"}


def test_what_pip_has_left_of_another_version_is_no_package() -> None:
    texts = {
        f"{SITE}/numpy-1.26.4.dist-info/METADATA": b"Name: numpy\nVersion: 1.26.4\n",
        f"{SITE}/~umpy-2.1.0.dist-info/METADATA": b"Name: numpy\nVersion: 2.1.0\n",
    }
    assert find_packages(texts).versions == {"numpy": "1.26.4"}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("version", b'"""About."""\nversion = "1.26.4"\n__version__ = version\n'),
        ("_version", b"version_json = '''\n{\n \"dirty\": false,\n \"version\": \"1.26.4\"\n}\n'''\n"),
    ],
)
def test_numpy_whose_metadata_was_removed(file: str, text: bytes) -> None:
    of_code = {f"{SITE}/numpy/{file}.py": text}
    assert find_packages(of_code).versions == {"numpy": "1.26.4"}
    metadata = {f"{SITE}/numpy-1.26.5.dist-info/METADATA": b"Name: numpy\nVersion: 1.26.5\n"}
    assert find_packages(of_code | metadata).versions == {"numpy": "1.26.5"}
    assert find_packages({f"{SITE}/numpy/version.py": b"from ._version import get_versions\n"}).versions == {}


def test_a_description_is_no_field() -> None:
    texts = {f"{SITE}/a-1.dist-info/METADATA": b"Name: a\r\nVersion: 1\r\n\r\nName: b\n"}
    assert find_packages(texts).versions == {"a": "1"}


def test_what_names_no_package_is_none() -> None:
    path = f"{SITE}/a-1.dist-info/METADATA"
    assert find_packages({path: b"Version: 1\n"}).pip == ()
    (own,) = find_packages({path: b"Name: a\n"}).pip
    assert own.package.version == "1", "of the folder's name"
    found = find_packages({path: b"Name: ../a\nVersion: 1\n"})
    assert not found.pip
    assert found.unread[0].startswith(path)


def test_files_and_hashes_of_record() -> None:
    found = pip(RECORD="alpha.py,sha256=abc,5\n../../../bin/alpha,,\n/etc/x,,\n\n,,\n")
    assert found.files == {
        f"{SITE}/alpha.py",
        "bin/alpha",
        f"{SITE}/alpha-1.0.dist-info/METADATA",
    }
    assert found.hashes == {f"{SITE}/alpha.py": "abc"}
    old = {
        f"{SITE}/alpha-1.0.egg-info/PKG-INFO": b"Name: alpha\nVersion: 1.0\n",
        f"{SITE}/alpha-1.0.egg-info/installed-files.txt": b"../alpha.py\n",
    }
    (found,) = find_packages(old).pip
    assert found.files == {f"{SITE}/alpha.py", f"{SITE}/alpha-1.0.egg-info/PKG-INFO"}


def test_the_name_that_the_wheel_had() -> None:
    assert pip().package.filename == "alpha-1.0-py3-none-any.whl"
    several = "Tag: py2-none-any\nTag: py3-none-any\n"
    assert pip(WHEEL=several).package.filename == "alpha-1.0-py2.py3-none-any.whl"
    native = (
        "Wheel-Version: 1.0\nTag: cp311-cp311-manylinux_2_17_x86_64\nTag: cp311-cp311-manylinux2014_x86_64\n"
    )
    assert pip(WHEEL=native).package.filename == (
        "alpha-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
    )
    assert pip(name="Al.pha", WHEEL="Tag: ../x\n").package.filename == "al_pha-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("document", "url", "editable"),
    [
        ({"url": "file:///src", "dir_info": {"editable": True}}, "file:///src", True),
        ({"url": "file:///src", "dir_info": {}}, "file:///src", False),
        (
            {"url": "https://x.org/a", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "git+https://x.org/a@abc",
            False,
        ),
        (
            {
                "url": "https://x.org/a",
                "vcs_info": {"vcs": "git", "commit_id": "abc"},
                "subdirectory": "pkgs/a",
            },
            "git+https://x.org/a@abc#subdirectory=pkgs/a",
            False,
        ),
        ({"url": 5}, None, False),
        ("no object", None, False),
    ],
)
def test_where_it_came_from(document: object, url: str | None, editable: bool) -> None:
    found = pip(direct_url_json=json.dumps(document), REQUESTED="")
    assert (found.url, found.editable, found.requested) == (url, editable, True)
    assert not pip().requested


def test_folders_outside_that_are_on_the_path() -> None:
    texts = {
        f"{SITE}/a.pth": b"/home/me/src\nimport x; x.y()\nfile:/srv/b\nrelative\nhttps://x.org/\n",
        f"{SITE}/c.egg-link": b"/home/me/c\n.\n",
        f"{SITE}/d.txt": b"/home/me/d\n",
    }
    assert list(editable_paths(texts)) == [
        (f"{SITE}/a.pth", "/home/me/src"),
        (f"{SITE}/a.pth", "file:/srv/b"),
        (f"{SITE}/c.egg-link", "/home/me/c"),
    ]
    develop = {
        f"{SITE}/e-1.egg-info/PKG-INFO": b"Name: e\nVersion: 1\n",
        f"{SITE}/e.egg-link": b"/home/me/e\n",
    }
    (found,) = find_packages(develop).pip
    assert found.editable
