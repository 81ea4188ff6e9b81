from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.archive.manifest import (
    Manifest,
    ManifestCondaPackage,
    ManifestExclusion,
    ManifestFile,
    ManifestInterpreter,
    ManifestPackage,
    manifest_beside,
    manifest_schema,
    parse_manifest,
    read_manifest,
)
from envbuilder.errors import IntegrityError

DIGEST = "ab" * 32
TEXT = st.text(max_size=20)
SIZE = st.integers(0, 2**45)
SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)
# Names that are not UTF-8 are in a path as Python reads them from a folder.
PATH = st.binary(min_size=1, max_size=30).map(lambda raw: raw.decode("utf-8", "surrogateescape"))

MANIFESTS = st.builds(
    Manifest,
    recipe=TEXT,
    recipe_digest=SHA256,
    lock_digest=SHA256,
    release=TEXT,
    python=TEXT,
    torch=TEXT,
    cuda=TEXT,
    interpreter=st.builds(
        ManifestInterpreter, version=TEXT, origin=TEXT, digest=SHA256, locked_digest=SHA256
    ),
    demands=st.lists(TEXT, max_size=3).map(tuple),
    packages=st.lists(
        st.builds(ManifestPackage, name=TEXT, version=TEXT, filename=TEXT, sha256=SHA256, size=SIZE),
        max_size=3,
    ).map(tuple),
    glibc=st.none() | TEXT,
    glibcxx=st.none() | TEXT,
    pack=st.dictionaries(TEXT, st.booleans() | SIZE | st.lists(TEXT, max_size=2), max_size=3),
    tools=st.dictionaries(TEXT, TEXT, max_size=3),
    unpacked_size=SIZE,
    files=st.lists(
        st.builds(
            ManifestFile,
            path=PATH,
            mode=st.integers(0, 0o777),
            size=SIZE,
            sha256=SHA256,
            link=st.none() | PATH,
        ),
        max_size=4,
    ).map(tuple),
    excluded=st.lists(st.builds(ManifestExclusion, pattern=TEXT, files=SIZE, size=SIZE), max_size=2).map(
        tuple
    ),
    conda=st.lists(
        st.builds(
            ManifestCondaPackage,
            name=TEXT,
            version=TEXT,
            filename=TEXT,
            sha256=SHA256,
            size=SIZE,
            build=TEXT,
            channel=TEXT,
            subdir=TEXT,
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    provides=st.dictionaries(TEXT, TEXT, max_size=2),
    format=st.just(1),
)


@given(manifest=MANIFESTS)
def test_it_is_read_back_and_fits_its_schema(manifest: Manifest) -> None:
    text = manifest.text()
    assert text.isascii()
    assert parse_manifest(text, where="m") == manifest
    assert parse_manifest(text.encode(), where="m") == manifest
    jsonschema.Draft202012Validator(manifest_schema()).validate(json.loads(text))


def example() -> Manifest:
    return Manifest(
        recipe="cpu",
        recipe_digest=DIGEST,
        lock_digest=DIGEST,
        release="26.06",
        python="3.12.1",
        torch="2.13.0+cpu",
        cuda="cpu",
        interpreter=ManifestInterpreter(version="3.12.1", origin="host", digest=DIGEST, locked_digest=DIGEST),
        demands=(),
        packages=(),
        glibc="2.28",
        glibcxx=None,
        pack={},
        tools={},
        unpacked_size=7,
        files=(
            ManifestFile(path="a", mode=0o644, size=7, sha256=DIGEST),
            ManifestFile(path="b", mode=0o777, size=0, sha256=DIGEST, link="a"),
        ),
    )


def test_each_file_has_a_line() -> None:
    lines = example().text().splitlines()
    assert lines[-4:] == [
        f'  {{"mode": 420, "path": "a", "sha256": "{DIGEST}", "size": 7}},',
        f'  {{"link": "a", "mode": 511, "path": "b", "sha256": "{DIGEST}", "size": 0}}',
        " ]",
        "}",
    ]


def test_the_schema_is_one_and_refuses_what_it_does_not_know() -> None:
    validator = jsonschema.Draft202012Validator(manifest_schema())
    validator.check_schema(manifest_schema())
    data = json.loads(example().text())
    validator.validate(data)
    for broken in (
        {**data, "more": 1},
        {**data, "lock_digest": "x"},
        {k: v for k, v in data.items() if k != "cuda"},
    ):
        assert not validator.is_valid(broken)


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(example().text()), **values})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m is no manifest: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("[]", "m is no manifest: TypeError: list indices must be integers or slices, not str"),
        ("{}", "m is no manifest: KeyError: 'format'"),
        (changed(files=[5]), "m is no manifest: TypeError: argument of type 'int' is not iterable"),
        (changed(glibc=2.28), "m is no manifest: TypeError: glibc is 2.28"),
        (changed(recipe=None), "m is no manifest: TypeError: recipe is None"),
        (
            changed(files=[{"path": 3, "mode": 1, "size": 1, "sha256": "x"}]),
            "m is no manifest: TypeError: path is 3",
        ),
        (
            changed(format="1"),
            "m is no manifest: TypeError: '>' not supported between instances of 'str' and 'int'",
        ),
    ],
)
def test_what_is_no_manifest(text: str, message: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(text, where="m")
    assert caught.value.message == message
    assert caught.value.exit_code == 5


@pytest.mark.parametrize(
    "text", [b"\xff", "[" * 100_000, changed(more=1), changed(files=[{"path": "a"}]), changed(packages=None)]
)
def test_others_that_are_none(text: str | bytes) -> None:
    with pytest.raises(IntegrityError, match=r"^m is no manifest: "):
        parse_manifest(text, where="m")


def test_a_newer_format() -> None:
    with pytest.raises(IntegrityError) as caught:
        parse_manifest(changed(format=2), where="m")
    assert caught.value.message == "m: manifest format 2, this envbuilder reads up to 1"
    assert caught.value.hint == "install a newer envbuilder"


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    with pytest.raises(IntegrityError) as caught:
        read_manifest(path)
    assert caught.value.message == f"the manifest {path} cannot be read: No such file or directory"
    path.write_text(example().text())
    assert read_manifest(path) == example()
    path.write_text("{")
    with pytest.raises(IntegrityError, match=rf"^{path} is no manifest: "):
        read_manifest(path)


@pytest.mark.parametrize("name", ["cpu-0123.tar.gz", "cpu-0123.tar"])
def test_where_it_lies(tmp_path: Path, name: str) -> None:
    assert manifest_beside(tmp_path / name) == tmp_path / "cpu-0123.json"
