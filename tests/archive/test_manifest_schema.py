from __future__ import annotations

import json
import re

import jsonschema  # type: ignore[import-untyped]  # it ships no types
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.archive.manifest import (
    Manifest,
    ManifestCondaPackage,
    ManifestExclusion,
    ManifestFile,
    ManifestInterpreter,
    ManifestPackage,
    parse_manifest,
)
from envbuilder.archive.manifest_schema import manifest_schema
from envbuilder.recipe.grammar import LARGEST_FILE
from envbuilder.recipe.schema import NAME_PATTERN
from envbuilder.util.documents import is_inside
from tests.archive.conftest import example

LINE = st.text(st.characters(codec="ascii", min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20)


SIZE = st.integers(0, LARGEST_FILE)


SHA256 = st.binary(min_size=32, max_size=32).map(bytes.hex)


RECIPE = st.from_regex(re.compile(NAME_PATTERN, re.ASCII), fullmatch=True)


VERSION = st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9])?(\+[a-z0-9]{1,5})?", fullmatch=True)


PYTHON = st.from_regex(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?", fullmatch=True)


LIBRARY = st.none() | st.from_regex(r"[0-9]{1,2}\.[0-9]{1,2}", fullmatch=True)


NAME = st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9})?", fullmatch=True)


WHEEL = st.builds("{}-{}-py3-none-any.whl".format, NAME, VERSION)


# Names that are not UTF-8 are in a path as Python reads them from a folder.
PATH = (
    st.lists(st.binary(min_size=1, max_size=15), min_size=1, max_size=3)
    .map(lambda parts: b"/".join(parts).decode("utf-8", "surrogateescape"))
    .filter(lambda path: is_inside(path) and not re.search(r"[\x00-\x1f\x7f-\x9f]", path))
)


FILE = st.builds(
    ManifestFile, path=PATH, mode=st.integers(0, 0o7777), size=SIZE, sha256=SHA256, link=st.none() | PATH
)


PACK = st.fixed_dictionaries(
    {},
    optional={
        "bytecode": st.booleans(),
        "level": st.integers(0, 9),
        "uncompressed": st.booleans(),
        "exclude": st.lists(LINE, max_size=2),
    },
)


MANIFESTS = st.builds(
    Manifest,
    recipe=RECIPE,
    recipe_digest=SHA256,
    lock_digest=SHA256,
    release=st.sampled_from(["23.08", "25.06", "31.12", "pytriton-0.7.0"]),
    python=PYTHON,
    torch=VERSION,
    cuda=st.sampled_from(["cpu", "pypi", "cu126"]),
    interpreter=st.builds(
        ManifestInterpreter, version=PYTHON, origin=LINE, digest=SHA256, locked_digest=SHA256
    ),
    demands=st.lists(LINE, max_size=3).map(tuple),
    packages=st.lists(
        st.builds(ManifestPackage, name=NAME, version=VERSION, filename=WHEEL, sha256=SHA256, size=SIZE),
        max_size=3,
    ).map(tuple),
    glibc=LIBRARY,
    glibcxx=LIBRARY,
    pack=PACK,
    tools=st.dictionaries(NAME, LINE, max_size=3),
    unpacked_size=SIZE,
    files=st.lists(FILE, max_size=4, unique_by=lambda file: file.path).map(tuple),
    excluded=st.lists(st.builds(ManifestExclusion, pattern=LINE, files=SIZE, size=SIZE), max_size=2).map(
        tuple
    ),
    conda=st.lists(
        st.builds(
            ManifestCondaPackage,
            name=st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,9}", fullmatch=True),
            version=st.from_regex(r"[a-z0-9_.!+]{1,9}", fullmatch=True),
            filename=st.just("a-1.0-h0_0.conda"),
            sha256=SHA256,
            size=SIZE,
            build=st.from_regex(r"[a-z0-9_]{1,9}", fullmatch=True),
            channel=LINE,
            subdir=st.sampled_from(["linux-64", "noarch"]),
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    provides=st.dictionaries(NAME, LINE, max_size=2),
    format=st.just(1),
)


@given(manifest=MANIFESTS)
def test_it_is_read_back_and_fits_its_schema(manifest: Manifest) -> None:
    text = manifest.text()
    assert text.isascii()
    assert parse_manifest(text, where="m") == manifest
    assert parse_manifest(text.encode(), where="m") == manifest
    jsonschema.Draft202012Validator(manifest_schema()).validate(json.loads(text))


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
