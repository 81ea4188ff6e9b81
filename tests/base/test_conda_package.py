"""What a conda package may not have, told before anything of it is installed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from envbuilder.base.conda_package import name_packages, read_package
from envbuilder.errors import AssembleError
from tests.helpers.channels import Cut, Link, write_package
from tests.helpers.conda_parts import greeting_cut, locked


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_paths_are_those_of_the_environment(tmp_path: Path, suffix: str) -> None:
    cut = greeting_cut()
    cut = dataclasses.replace(
        cut,
        files={
            **cut.files,
            "python-scripts/greet": b"#!/bin/sh\n",
            "share/greeting": Link("../etc"),
            "bin/.greeting-post-link.sh": b"#!/bin/sh\n",
        },
    )
    path = write_package(tmp_path, cut, suffix)
    content = read_package(locked(cut, path), path, "3.11", metadata=True)
    site = "lib/python3.11/site-packages"
    assert sorted(content.paths) == [
        "bin/.greeting-post-link.sh",
        "bin/greet",
        "bin/greeting",
        f"{site}/greeting-1.0.dist-info/METADATA",
        f"{site}/greeting.py",
        "share/greeting",
    ]
    assert content.links == (("share/greeting", "../etc"),)
    assert content.scripts == ("bin/.greeting-post-link.sh",)
    assert content.metadata == (cut.files["site-packages/greeting-1.0.dist-info/METADATA"],)


def rows(*paths: str) -> list[dict[str, object]]:
    return [
        {"_path": path, "path_type": "hardlink", "sha256": "0" * 64, "size_in_bytes": 1} for path in paths
    ]


NO_HONEST = "do not trust this package: check where the channel got it from"
INSIDE = "links must stay inside; use another build of the package"
OTHER_POINT = "expected NAME = MODULE:FUNCTION; use another build of the package"
BAD: dict[str, tuple[Cut, str, str | None]] = {
    "an absolute path": (
        Cut(name="bad", files={"/etc/passwd": b"x"}, paths=rows("/etc/passwd")),
        "'/etc/passwd' leaves the environment",
        NO_HONEST,
    ),
    "a path that goes up": (
        Cut(name="bad", files={"share/../../x": b"x"}, paths=rows("share/../../x")),
        "'share/../../x' leaves the environment",
        NO_HONEST,
    ),
    "a path that only paths.json has": (
        Cut(name="bad", files={"share/x": b"x"}, paths=rows("share/x", "../x")),
        "'../x' leaves the environment",
        NO_HONEST,
    ),
    "an absolute link": (
        Cut(name="bad", files={"share/x": Link("/etc")}),
        "the link share/x points to /etc, outside the environment",
        INSIDE,
    ),
    "a link that goes up and out": (
        Cut(name="bad", files={"share/x": Link("../../etc")}),
        "the link share/x points to ../../etc, outside the environment",
        INSIDE,
    ),
    "a link to the folder above": (
        Cut(name="bad", files={"x": Link("..")}),
        "the link x points to .., outside the environment",
        INSIDE,
    ),
    "a link whose own path is out": (
        Cut(name="bad", files={"../x": Link("y")}, paths=rows("share/y")),
        "'../x' leaves the environment",
        NO_HONEST,
    ),
    "an entry point without a function": (
        dataclasses.replace(greeting_cut(), name="bad", entry_points=["tool = module"]),
        "invalid entry point 'tool = module'",
        OTHER_POINT,
    ),
    "an entry point with a path": (
        dataclasses.replace(greeting_cut(), name="bad", entry_points=["../tool = module:main"]),
        "invalid entry point '../tool = module:main'",
        OTHER_POINT,
    ),
    "an entry point that is no text": (
        dataclasses.replace(
            greeting_cut(),
            name="bad",
            info={"link.json": json.dumps({"noarch": {"type": "python", "entry_points": [7]}}).encode()},
        ),
        "invalid entry point 7",
        OTHER_POINT,
    ),
    "another name": (
        Cut(
            name="bad",
            files={"x": b"x"},
            info={"index.json": b'{"name": "good", "version": "2", "build": "0", "build_number": 0}'},
        ),
        "its metadata says that it is good-2-0",
        "the channel's index is wrong: re-index it, then lock again",
    ),
    "no index": (
        Cut(name="bad", files={"x": b"x"}, info={"index.json": b"[]"}),
        "cannot be read as a conda package: info/index.json: expected an object, found an empty list",
        None,
    ),
    "an index that lacks the version": (
        Cut(name="bad", files={"x": b"x"}, info={"index.json": b'{"name": "bad"}'}),
        "cannot be read as a conda package: info/index.json: version: is missing; expected a line of text",
        None,
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_what_no_package_may_have(tmp_path: Path, case: str, suffix: str) -> None:
    cut, message, hint = BAD[case]
    path = write_package(tmp_path, cut, suffix)
    with pytest.raises(AssembleError) as caught:
        read_package(locked(cut, path), path, "3.11")
    assert (caught.value.message, caught.value.hint) == (f"{path.name}: {message}", hint)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("kept", [0, 0.5])
def test_what_is_no_package(tmp_path: Path, suffix: str, kept: float) -> None:
    cut = greeting_cut()
    path = write_package(tmp_path, cut, suffix)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(AssembleError) as caught:
        read_package(locked(cut, path), path, "3.11")
    assert caught.value.message.startswith(f"{path.name}: cannot be read as a conda package: ")


def test_packages_of_the_store_get_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_package(tmp_path, greeting_cut())
    package = locked(greeting_cut(), path)
    named = name_packages({package: path}, tmp_path / "linked")
    assert named == {package: tmp_path / "linked" / "noarch" / package.filename}
    assert named[package].samefile(path)

    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    copied = name_packages({package: path}, tmp_path / "copied")[package]
    assert copied.read_bytes() == path.read_bytes()
    assert not copied.samefile(path)
