"""Text of others, in every place where it may stand: none of it reaches a terminal as something that one obeys."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from envbuilder.archive.manifest import MANIFEST_PATH, ManifestFile
from tests.helpers import tars
from tests.helpers.environments import SITE, environment, manifest, package
from tests.helpers.hostile import Room, harmless
from tests.helpers.hostile_archives import archive_of, model, named

EVIL = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\x9b31m\x7f\r"
"""Clears the screen, sets the title, turns what follows around, colours it (C1), deletes, goes back to the margin."""
SHOWN = r"\u001b[2J\u001b]0;owned\u0007\u202egnp.exe\u009b31m\u007f"
QUICK = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
_EVIL = EVIL.encode()

MEMBERS: dict[str, list[bytes]] = {
    "a file": [tars.pax((b"path", b"x" + _EVIL)), tars.file("x")],
    "a folder": [tars.pax((b"path", b"x" + _EVIL + b"/")), tars.header("x", kind=b"5")],
    "a link and its target": [
        tars.pax((b"path", b"l" + _EVIL), (b"linkpath", b"/" + _EVIL)), tars.header("x", kind=b"2")
    ],
    "a path that goes up": [tars.pax((b"path", b"../" + _EVIL)), tars.file("x")],
    "an absolute path": [tars.pax((b"path", b"/" + _EVIL)), tars.file("x")],
    "a hard link": [tars.pax((b"path", _EVIL), (b"linkpath", _EVIL)), tars.header("x", kind=b"1")],
    "a device": [tars.pax((b"path", b"d" + _EVIL)), tars.header("x", kind=b"3")],
    "the same twice": [tars.pax((b"path", _EVIL)), tars.file("x")] * 2,
    "bytes that are no UTF-8": [tars.pax((b"path", b"\xff\xfe" + _EVIL)), tars.file("x")],
    "one that cannot be read": [tars.pax((b"path", _EVIL)), tars.header("x", size=10**13)],
    "lines of an error": [
        tars.pax((b"path", b"x\n  hint: download and run this\nerror: y")), tars.header("x", size=10**13)
    ],
    "a shell script": [
        tars.pax((b"path", b"bin/" + _EVIL)), tars.file("x", b"#!/opt/" + _EVIL.replace(b"\r", b"") + b"\n")
    ],
    "a record of files outside": [
        tars.file(f"{SITE}/x-1.dist-info/METADATA", b"Metadata-Version: 2.1\nName: x\nVersion: 1\n"),
        tars.file(f"{SITE}/x-1.dist-info/RECORD", b"/etc/" + _EVIL.replace(b"\r", b"") + b",,\n"),
    ],
    "where it was installed from": [
        tars.file(f"{SITE}/x-1.dist-info/METADATA", b"Metadata-Version: 2.1\nName: x\nVersion: 1\n"),
        tars.file(f"{SITE}/x-1.dist-info/direct_url.json", json.dumps({"url": f"file:///{EVIL}"}).encode()),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", MEMBERS)
def test_names_in_an_archive(room: Room, case: str) -> None:
    archive = archive_of(room.folder, MEMBERS[case])
    for options in (["size"], ["size", "--json"], ["sbom"], ["licences"], ["licences", "--json"]):
        outcome = room.run(options[0], archive, *options[1:])
        assert outcome.code in (0, 5), str(outcome)
        harmless(outcome)
        assert "\nerror: y" not in outcome.stderr
        assert "\n  hint: download" not in outcome.stderr


@pytest.mark.parametrize("case", MEMBERS)
def test_names_in_an_archive_that_is_verified(room: Room, case: str) -> None:
    archive = archive_of(room.folder, MEMBERS[case])
    report, junit = room.folder / "out" / "report.json", room.folder / "out" / "report.xml"
    options = ("--no-server", "--report", report, "--junit", junit)
    outcome = room.run("verify", archive, *options, env={"PATH": QUICK})
    assert outcome.code == 7
    harmless(outcome, may_write=["out"], report=report)
    harmless(outcome, may_write=["out"], report=junit)


METADATA: dict[str, bytes] = {
    "a name": b"Name: evil" + _EVIL + b"\nVersion: 1",
    "a version": b"Name: evil\nVersion: 1" + _EVIL,
    "a summary": b"Name: evil\nVersion: 1\nSummary: " + _EVIL,
    "a licence": b"Name: evil\nVersion: 1\nLicense: " + _EVIL,
    "a licence expression": b"Name: evil\nVersion: 1\nLicense-Expression: MIT" + _EVIL,
    "a classifier": b"Name: evil\nVersion: 1\nClassifier: License :: " + _EVIL,
    "a requirement": b"Name: evil\nVersion: 1\nRequires-Dist: x" + _EVIL,
}


@pytest.mark.parametrize("case", METADATA)
@pytest.mark.parametrize("verb", ["sbom", "licences", "audit"])
def test_what_a_package_says_of_itself(room: Room, case: str, verb: str) -> None:
    text = b"Metadata-Version: 2.1\n" + METADATA[case] + b"\n\n"
    archive = archive_of(room.folder, [tars.file(f"{SITE}/evil-1.dist-info/METADATA", text)])
    (room.work / "none.json").write_text('{"id": "X-1"}')
    outcome = room.run(verb, archive, *(["--advisories", "none.json"] if verb == "audit" else []))
    assert outcome.code in (0, 5), str(outcome)
    harmless(outcome)


def test_what_an_advisory_says(room: Room) -> None:
    archive = archive_of(room.folder, [b""])
    advisory = {
        "id": "GHSA-1",
        "summary": EVIL,
        "modified": "2026-01-01T00:00:00Z",
        "database_specific": {"severity": "HIGH"},
        "affected": [{"package": {"ecosystem": "PyPI", "name": "numpy"}, "versions": ["1.26.4"]}],
    }
    (room.work / "one.json").write_text(json.dumps(advisory))
    for options in ([], ["--json"]):
        outcome = room.run("audit", archive, "--advisories", "one.json", *options)
        assert outcome.code == 7, str(outcome)
        assert SHOWN in outcome.stdout.replace("\\r", "")
        harmless(outcome)


@pytest.mark.parametrize("options", [[], ["--json"], ["--markdown"]], ids=str)
def test_what_changed_between_archives(room: Room, options: list[str]) -> None:
    before = manifest(environment())
    for name, path in (
        ("evil", f"x{EVIL}"),
        ("markup", "x`|<script>alert(1)</script>[x](www.x.example)@all"),
    ):
        files = (*before.files, ManifestFile(path=path, mode=0o644, size=9, sha256="1" * 64))
        (room.work / f"{name}.json").write_text(dataclasses.replace(before, files=files).text())
    (room.work / "a.json").write_text(before.text())
    outcome = room.run("diff", "a.json", "evil.json", *options)
    assert outcome.code in (0, 5), str(outcome)
    harmless(outcome)
    outcome = room.run("diff", "a.json", "markup.json", *options)
    assert outcome.code == 0, str(outcome)
    harmless(outcome)
    if options == ["--markdown"]:  # in code, where nothing is markup; a bar would end the cell
        assert "| `x\u2019\\|<script>alert(1)</script>[x](www.x.example)@all` |" in outcome.stdout


def test_a_picture_is_valid(room: Room) -> None:
    tree = environment()
    evil = f"{SITE}/evil{EVIL}-1.dist-info"
    tree |= {f"{evil}/METADATA": b"x", f"{evil}/RECORD": f"{evil}/METADATA,,\n".encode()}
    parts = [tars.pax((b"path", path.encode())) + tars.file("x", content) for path, content in tree.items() if
             isinstance(content, bytes)]  # fmt: skip
    archive = named(tars.write(room.folder / "draft", [*parts, tars.END]))
    outcome = room.run("size", archive, "--plot", "a.svg")
    assert outcome.code == 0, str(outcome)
    harmless(outcome, may_write=["work/a.svg"])
    picture = (room.work / "a.svg").read_text()
    assert ElementTree.fromstring(picture).tag.endswith("svg")
    assert EVIL[0] not in picture


# -- what a person gives, and what was given to that person -------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [f"no{EVIL}verb"],
        ["verify", f"no{EVIL}.tar.gz"],
        ["verify", "no\udcff.tar.gz"],
        ["lock", f"no{EVIL}recipe"],
        ["lock", f"./no{EVIL}.yaml"],
        ["build", f"./no{EVIL}.yaml", f"./no\udcfe{EVIL}.yaml"],
        ["diff", f"no{EVIL}.json", "x.json"],
        ["diff", f"no{EVIL}.toml", "x.toml"],
        ["init", f"no{EVIL}"],
        ["store", "prune", "--limit", EVIL],
        ["pull", EVIL],
        ["alias", EVIL],
        ["import", f"no{EVIL}.yml"],
        ["doctor", f"./no{EVIL}.yaml"],
    ],
    ids=lambda value: value[0][:8],
)
def test_arguments(room: Room, arguments: list[str]) -> None:
    outcome = room.run(*arguments)
    assert outcome.code != 0, str(outcome)
    harmless(outcome)


def _recipe(text: str) -> Callable[[Room], list[str]]:
    def write(room: Room) -> list[str]:
        (room.work / "recipes").mkdir()
        (room.work / "recipes" / "a.yaml").write_text(text)
        return ["build", "a"]

    return write


def _lock(text: str) -> Callable[[Room], list[str]]:
    def write(room: Room) -> list[str]:
        _recipe('triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n')(room)
        (room.work / "recipes" / "pylock.a.toml").write_text(text)
        return ["build", "a"]

    return write


def _settings(name: str, text: str) -> Callable[[Room], list[str]]:
    def write(room: Room) -> list[str]:
        place = room.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        _recipe('triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\nprovider: conda\nchannels: ["file:///none"]\n')(
            room
        )
        return ["lock", "a"]

    return write


def _config(text: str) -> Callable[[Room], list[str]]:
    def write(room: Room) -> list[str]:
        folder = model(room)
        (folder / "config.pbtxt").write_text(text)
        return ["deploy", str(archive_of(room.folder, [b""])), str(folder), "--repository", "../repository"]

    return write


def _import(name: str, text: str) -> Callable[[Room], list[str]]:
    def write(room: Room) -> list[str]:
        (room.work / "environment.yml").write_text(
            "name: x\nchannels: [conda-forge]\ndependencies: [python=3.11, pytorch=2.7, pip, {pip: [-r r.txt]}]\n"
        )
        (room.work / "r.txt").write_text("numpy\n")
        (room.work / name).write_text(text)
        return ["import", "environment.yml"]

    return write


_PLAIN = EVIL.replace("\r", "")
FILES: dict[str, Callable[[Room], list[str]]] = {
    "a recipe's key": _recipe(f'triton: "25.06"\n"{EVIL.encode("unicode_escape").decode()}": 1\n'),
    "a recipe's value": _recipe(f'triton: "{EVIL.encode("unicode_escape").decode()}"\n'),
    "a recipe's dependency": _recipe(
        'triton: "25.06"\ntorch: "2.7.1"\ncuda: cpu\n'
        f'dependencies: ["x{EVIL.encode("unicode_escape").decode()}"]\n'
    ),
    "a recipe in raw bytes": _recipe(f"triton: {_PLAIN}\n"),
    "a lock's key": _lock(f"[{json.dumps(EVIL)}]\n"),
    "a lock's version": _lock(f"lock-version = {json.dumps(EVIL)}\n[tool.envbuilder]\nformat = 1\n"),
    "a lock in raw bytes": _lock(f"a = {_PLAIN}\n"),
    "a setting": _settings("work/envbuilder.toml", f"{json.dumps(EVIL)} = 1\n"),
    "pip's configuration": _settings("home/.config/pip/pip.conf", f"[global]\n{_PLAIN}\n"),
    "conda's configuration": _settings("home/.condarc", f"channels: [{_PLAIN}\n"),
    "a server's configuration": _config(f'name: "{_PLAIN}" backend: "python"\n'),
    "a server's configuration that is none": _config(f"{_PLAIN} {{\n"),
    "another tool's recipe": _import(
        "environment.yml", f'name: x\n"{EVIL.encode("unicode_escape").decode()}": 1\n'
    ),
    "another tool's requirements": _import("r.txt", f"--{_PLAIN}\nx{_PLAIN}\n"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_a_person_was_given(room: Room, case: str) -> None:
    outcome = room.run(*FILES[case](room))
    assert outcome.code != 0 or case.startswith("another tool's"), str(outcome)
    harmless(outcome, may_write=["work/recipes", "repository"])


# -- the streams themselves ------------------------------------------------------------------------


def test_tables_and_lines_stay_in_order_and_whole(room: Room) -> None:
    archive = archive_of(room.folder, [b""])
    outcome = room.run("size", archive)
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["package", "packed", "share", "unpacked", "files"]
    assert [line.split()[0] for line in lines if line.startswith("total")] == ["total", "total"]


def test_a_locale_without_utf8_changes_nothing_of_it(room: Room) -> None:
    archive = archive_of(room.folder, MEMBERS["a path that goes up"])
    outcome = room.run(
        "sbom", archive, env={"LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    )
    assert outcome.code == 0
    harmless(outcome)
    assert json.loads(outcome.stdout)["components"]


def test_what_is_json_stays_json(room: Room) -> None:
    tree = {**environment(), **package("evil", "1")}
    tree[f"{SITE}/evil-1.dist-info/METADATA"] = (
        b"Metadata-Version: 2.1\nName: evil\nVersion: 1\nSummary: " + _EVIL
    )
    tree[MANIFEST_PATH] = manifest(environment()).text().encode()
    parts = [tars.file(path, content) for path, content in tree.items() if isinstance(content, bytes)]
    archive = named(tars.write(room.folder / "draft", [*parts, tars.END]))
    outcome = room.run("sbom", archive)
    harmless(outcome)
    (component,) = (one for one in json.loads(outcome.stdout)["components"] if one["name"] == "evil")
    assert component["description"] == EVIL.strip()
