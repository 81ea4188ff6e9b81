"""Manifests that lie: beside an archive, inside it, in folders, through every verb that reads one.

A manifest's fields become names of files and lines on a terminal. Each row changes one field of a sound manifest; the
verbs must end in one error that names the field, with nothing written anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from envbuilder.archive.manifest import MANIFEST_PATH, ManifestFile, ManifestPackage
from envbuilder.util.printable import shown
from tests.deployment.conftest import CONFIG, MODEL, make_manifest
from tests.helpers.hostile import Room, accepted, refused
from tests.helpers.trust import Team

SHA = "ab" * 32
RECIPE = "expected a recipe's name (letters, digits, - and _), found "
DIGEST = "expected 64 hex digits, found "
DOWN = "expected a relative path without . and .., found "
PLAIN = "expected a path without control characters, found "
VERSION = "expected a version (PEP 440), found "
PROJECT = "expected a project name (PEP 508), found "
WHEEL = "expected the file name of a wheel or of a conda package, found "
LINK = "expected the target of a link, without control characters, found "
LINE = "expected a line of text without control characters, found "


class Row(NamedTuple):
    """One field, what it is changed to, and what is said of it."""

    field: str
    value: Any
    expected: str
    """What is said of it; after ``found`` goes the value itself."""

    @property
    def said(self) -> str:
        return self.expected + (shown(self.value) if self.expected.endswith("found ") else "")


def sound() -> dict[str, Any]:
    """A manifest with something of everything."""
    package: dict[str, Any] = {"sha256": SHA, "size": 7}
    manifest = make_manifest(
        demands=("numpy",),
        glibc="2.28",
        glibcxx="3.4.22",
        pack={"bytecode": True, "level": 4, "uncompressed": False, "exclude": ["**/tests/**"]},
        tools={"envbuilder": "0.1.0"},
        packages=(ManifestPackage(name="a", version="1.0", filename="a-1.0-py3-none-any.whl", **package),),
        files=(
            ManifestFile(path="lib/a.py", mode=0o644, size=7, sha256=SHA),
            ManifestFile(path="lib/b", mode=0o777, size=0, sha256=SHA, link="a.py"),
        ),
    )
    data: dict[str, Any] = json.loads(manifest.text())
    data["excluded"] = [{"pattern": "**/tests/**", "files": 1, "size": 2}]
    data["conda"] = [
        {
            "name": "_libgcc",
            "version": "1.0",
            "filename": "_libgcc-1.0-h0.conda",
            "build": "h0",
            "channel": "conda-forge",
            "subdir": "linux-64",
            **package,
        }
    ]
    data["provides"] = {"numpy": "1.0"}
    return data


# What would write elsewhere, mislead who reads it, or end in a traceback.
ROWS = [
    # names that become files' names
    Row("recipe", "/tmp/x", RECIPE),
    Row("recipe", "../../x", RECIPE),
    Row("recipe", "..", RECIPE),
    Row("recipe", ".", RECIPE),
    Row("recipe", "a/b", RECIPE),
    Row("recipe", "a\\b", RECIPE),
    Row("recipe", "", RECIPE),
    Row("recipe", ".hidden", RECIPE),
    Row("recipe", "-rf", RECIPE),
    Row("recipe", "a b", RECIPE),
    Row("recipe", "a\n", RECIPE),
    Row("recipe", 'a"; echo "', RECIPE),
    Row("recipe", "a\x1b[2J", RECIPE),
    Row("recipe", "a\0b", RECIPE),
    Row("recipe", "a\u202eb", RECIPE),
    Row("recipe", "\uff41", RECIPE),
    Row("recipe", "\udcff", RECIPE),
    Row("recipe", "a" * 201, RECIPE),
    Row("recipe", "a" * 5000, "expected at most 4096 characters, found "),
    Row("recipe", None, RECIPE),
    Row("recipe", 5, RECIPE),
    Row("recipe", True, RECIPE),
    Row("recipe", ["a"], RECIPE),
    Row("recipe", {"a": "b"}, RECIPE),
    # the release
    Row("release", "99.13", "expected a Triton release: YY.MM, or pytriton-0.7.0, found "),
    Row("release", "20.01", "expected a Triton release: YY.MM, or pytriton-0.7.0, found "),
    Row("release", "../25.06", "expected a Triton release: YY.MM, or pytriton-0.7.0, found "),
    Row("release", "25.06\n", LINE),
    Row("release", 25.06, "expected a line of text, found "),
    # digests
    Row("lock_digest", SHA.upper(), DIGEST),
    Row("lock_digest", SHA[:-1], DIGEST),
    Row("lock_digest", SHA + "\n", DIGEST),
    Row("lock_digest", f"../{SHA[3:]}", DIGEST),
    Row("lock_digest", "٣" * 64, DIGEST),
    Row("recipe_digest", None, DIGEST),
    Row("interpreter.digest", "sha256:" + SHA, DIGEST),
    Row("interpreter.locked_digest", 5, DIGEST),
    Row("packages[0].sha256", "", DIGEST),
    Row("conda[0].sha256", "x" * 64, DIGEST),
    Row("files[0].sha256", [SHA], DIGEST),
    # sizes
    Row("unpacked_size", -1, "expected an integer from 0 to 1099511627776, found "),
    Row("unpacked_size", 2**63, "expected an integer from 0 to 1099511627776, found "),
    Row("unpacked_size", 1e3, "expected an integer from 0 to 1099511627776, found "),
    Row("unpacked_size", True, "expected an integer from 0 to 1099511627776, found "),
    Row("unpacked_size", "7", "expected an integer from 0 to 1099511627776, found "),
    Row("packages[0].size", -7, "expected an integer from 0 to 1099511627776, found "),
    Row("files[0].size", 2**41, "expected an integer from 0 to 1099511627776, found "),
    Row("files[0].mode", -1, "expected an integer from 0 to 4095, found "),
    Row("files[0].mode", 0o100644, "expected an integer from 0 to 4095, found "),
    Row("excluded[0].files", -1, "expected an integer from 0 to 2^63 - 1, found "),
    # paths
    Row("files[0].path", "/etc/passwd", DOWN),
    Row("files[0].path", "../x", DOWN),
    Row("files[0].path", "lib/../../x", DOWN),
    Row("files[0].path", "lib/./x", DOWN),
    Row("files[0].path", "lib//x", DOWN),
    Row("files[0].path", "lib/", DOWN),
    Row("files[0].path", "", DOWN),
    Row("files[0].path", ".", DOWN),
    Row("files[0].path", "a\0b", DOWN),
    Row("files[0].path", "a/" * 3000 + "a", DOWN),
    Row("files[0].path", "a\nb", PLAIN),
    Row("files[0].path", "a\x1b]0;b\x07", PLAIN),
    Row("files[0].path", "a\x9b31mb", PLAIN),
    Row("files[1].path", "lib/a.py", "is listed twice: 'lib/a.py'"),
    Row("files[1].link", "", LINK),
    Row("files[1].link", "a\x1b[31m", LINK),
    Row("files[1].link", "a\0b", LINK),
    Row("files[1].link", 5, "expected a text, found "),
    # packages
    Row("packages[0].name", "../a", PROJECT),
    Row("packages[0].name", "a b", PROJECT),
    Row("packages[0].name", "-a", PROJECT),
    Row("packages[0].version", "1.0/../..", VERSION),
    Row("packages[0].version", "latest", VERSION),
    Row("packages[0].filename", "../a-1.0-py3-none-any.whl", WHEEL),
    Row("packages[0].filename", "a.tar.gz", WHEEL),
    Row("conda[0].name", "../a", "expected a conda package's name, found "),
    Row("conda[0].version", "1.0 0", "expected a conda version, found "),
    Row("conda[0].build", "h0;rm", "expected a conda build string, found "),
    Row("conda[0].filename", "/a-1.0-h0.conda", WHEEL),
    Row("conda[0].subdir", "../noarch", "expected 'linux-64' or 'noarch', found "),
    Row("conda[0].channel", "x\x1b[0m", LINE),
    Row("provides", {"a/b": "1"}, "expected a project name (PEP 508) as a key, found 'a/b'"),
    Row("conda", [], "is only said of conda packages, but there are none"),
    # versions and options
    Row("python", "3.12; rm", "expected a Python version as in 3.12.3, found "),
    Row("torch", "2.7\n1", VERSION),
    Row("cuda", "cuda", "expected cpu, pypi, or cuXYZ as in cu126, found "),
    Row("glibc", "2.28/..", "expected a version as in 2.28, found "),
    Row("glibcxx", 3.4, "expected a version as in 2.28, found "),
    Row("demands", "numpy", "expected a list, found "),
    Row("demands", ["numpy\n"], LINE + shown("numpy\n")),
    Row(
        "tools",
        {"env\nbuilder": "1"},
        f"expected a tool's name as a key, found {shown('env' + chr(10) + 'builder')}",
    ),
    Row("tools", {"envbuilder": 1}, "expected a line of text, found 1"),
    Row("pack.uncompressed", "yes", "expected true or false, found "),
    Row("pack.level", 10, "expected an integer from 0 to 9, found "),
    Row("pack.more", {}, "is not known"),
    # shapes
    Row("format", 0, "expected an integer from 1 to 2^63 - 1, found "),
    Row("format", "1", "expected an integer from 1 to 2^63 - 1, found "),
    Row("files", {}, "expected a list, found "),
    Row("files[0]", [], "expected an object, found "),
    Row("files[0].more", 1, "is not known"),
    Row("packages", None, "expected a list, found "),
    Row("interpreter", "3.12", "expected an object, found "),
    Row("more", [], "is not known"),
]


def changed(row: Row) -> bytes:
    """The manifest of :func:`sound` with the row's field changed."""
    data: Any = sound()
    where = data
    *way, last = re.findall(r"[^.\[\]]+", row.field)
    for key in way:
        where = where[int(key) if key.isdigit() else key]
    where[int(last) if last.isdigit() else last] = row.value
    return json.dumps(data).encode()


def path_said(row: Row) -> str:
    """Where the error says that it is."""
    if row.field == "demands" and isinstance(row.value, list):
        return "demands[0]"
    if row.field == "conda":
        return "provides"
    if row.field == "tools" and row.value == {"envbuilder": 1}:
        return "tools.envbuilder"
    return row.field


# What is no manifest at all.
DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is not JSON: Expecting value in line 1, column 1"),
    "a list": (b"[]", "expected an object, found an empty list"),
    "cut off": (json.dumps(sound()).encode()[:-20], r"is not JSON: .* in line 1, column \d+"),
    "not UTF-8": (b'{"format": "\xff"}', "is not UTF-8: invalid start byte at byte 12"),
    "with a mark": (b"\xef\xbb\xbf{}", r"is not JSON: .*"),
    "nested": (b'{"format": ' + b"[" * 200_000, "is nested more than 64 levels deep"),
    "objects without end": (
        b'{"format": 1, "files": [' + b"[]," * 2_100_000 + b"1]}",
        "has more than 2,000,000 objects and lists",
    ),
    "a long number": (b'{"format": ' + b"9" * 10**6 + b"}", "has an integer of 1000000 digits"),
    "not a number": (b'{"format": NaN}', "has NaN, which is not JSON"),
    "a key twice": (b'{"format": 1, "format": 1}', "has the key 'format' more than once in one object"),
    "of the future": (b'{"format": 2}', "manifest format 2, this envbuilder reads up to 1"),
    "too large": (b" " * (64 * 2**20 + 1), "is larger than 67.1 MB, the limit for this kind of document"),
}


class Site(NamedTuple):
    """A model and a place for archives in a room."""

    room: Room
    model: Path
    built: Path

    def archive(self, manifest: bytes, *, beside: bool) -> Path:
        """Write an archive with *manifest*: beside it and inside, or inside alone."""
        written = io.BytesIO()
        with tarfile.open(fileobj=written, mode="w") as tar:
            for name, data in {"bin/activate": b"", MANIFEST_PATH: manifest}.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        data = written.getvalue()
        path = self.built / f"tiny-{hashlib.sha256(data).hexdigest()[:12]}.tar"
        path.write_bytes(data)
        if beside:
            path.with_suffix(".json").write_bytes(manifest)
        return path


@pytest.fixture
def site(room: Room) -> Site:
    model, built = room.work / "models" / "net", room.work / "built"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG)
    (model / "1" / "model.py").write_text(MODEL)
    built.mkdir()
    return Site(room, model, built)


Verb = Callable[[Site, Path], list[str]]


def _deploy(*more: str) -> Verb:
    return lambda site, archive: ["deploy", str(archive), str(site.model), "--repository", "repo", *more]


BESIDE: dict[str, Verb] = {
    "deploy": _deploy(),
    "deploy shared": _deploy("--layout", "shared", "--prune"),
    "deploy backend": _deploy("--layout", "backend"),
    "deploy unpacked": _deploy("--unpacked", "--dry-run"),
    "diff": lambda site, archive: ["diff", str(archive), str(archive.with_suffix(".json"))],
    "push": lambda site, archive: ["push", str(archive)],
}
"""Verbs that read the manifest beside an archive."""
INSIDE: dict[str, Verb] = {
    "deploy, alone": _deploy(),
    "sbom": lambda site, archive: ["sbom", str(archive)],
    "size": lambda site, archive: ["size", str(archive)],
    "licences": lambda site, archive: ["licences", str(archive)],
    "attest": lambda site, archive: ["attest", str(archive)],
    "diff, alone": lambda site, archive: ["diff", str(archive), str(archive)],
}
"""Verbs that read the one inside."""
VERBS = [*BESIDE, *INSIDE]


def test_the_sound_manifest_passes(site: Site) -> None:
    """Else every row would be refused for what it has in common."""
    accepted(
        site.room.run(*_deploy("--dry-run")(site, site.archive(json.dumps(sound()).encode(), beside=True)))
    )


def run(site: Site, row: Row, verb: str) -> None:
    said = f"{path_said(row)}: {row.said}"
    archive = site.archive(changed(row), beside=verb in BESIDE)
    arguments = (BESIDE | INSIDE)[verb](site, archive)
    env = {
        "ENVBUILDER_STORE": f"file://{site.room.folder}/remote",
        "ENVBUILDER_STORE_KEY": str(Team(site.room.home).private),
    }
    if verb in BESIDE:
        where = re.escape(str(archive.with_suffix(".json")))
    else:
        where = f"({re.escape(str(archive))}: )?{MANIFEST_PATH}"
    refused(site.room.run(*arguments, env=env), 5, re.compile(f"error: {where}: {re.escape(said)}"))


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: f"{number}-{ROWS[number].field}")
def test_a_field_is_refused(site: Site, number: int) -> None:
    """Wherever the manifest lies: the verbs take turns."""
    run(site, ROWS[number], VERBS[number % len(VERBS)])


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_refuses(site: Site, verb: str) -> None:
    for field, value in (("recipe", "../../x"), ("files[0].path", "/etc/passwd"), ("files", {})):
        run(site, next(row for row in ROWS if (row.field, row.value) == (field, value)), verb)


def test_verify_reports_it(site: Site) -> None:
    row = next(row for row in ROWS if row.value == "../../x")
    archive = site.archive(changed(row), beside=True)
    report = site.room.work / "report.json"
    outcome = site.room.run("verify", archive, "--no-server", "--report", report)
    refused(
        outcome,
        7,
        re.compile("error: .* checks failed: .*manifest.present.*"),
        may_write=["work/report.json"],
        report=report,
    )
    found = {check["id"]: check for check in json.loads(report.read_text())["checks"]}
    assert found["manifest.present"]["found"] == f"{MANIFEST_PATH}: {row.field}: {row.said}"


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_is_refused(site: Site, kind: str) -> None:
    text, said = DOCUMENTS[kind]
    archive = site.archive(text if kind != "too large" else b"{}", beside=True)
    archive.with_suffix(".json").write_bytes(text)
    pattern = re.escape(str(archive.with_suffix(".json")))
    said = said if ".*" in said else re.escape(said)
    for verb in ("deploy", "diff"):
        refused(site.room.run(*BESIDE[verb](site, archive)), 5, re.compile(f"error: {pattern}: {said}"))
