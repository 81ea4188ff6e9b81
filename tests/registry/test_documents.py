"""Documents of images: read under caps, and written the same each time."""

from __future__ import annotations

import dataclasses
import json

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.registry.documents import (
    CONFIG,
    DOCKER_INDEX,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    MOST_BLOB,
    Index,
    Manifest,
    Platform,
    describe,
    digest_of,
    parse_manifest,
)


@pytest.mark.parametrize("kind", [MANIFEST, INDEX, None])
def test_a_document_that_is_both(kind: str | None) -> None:
    """CVE-2021-41190: by what it is called, it would be the one or the other."""
    config = describe(b"{}", "a/b").json()
    document = {"schemaVersion": 2, "config": config, "layers": [], "manifests": []}
    if kind is not None:
        document["mediaType"] = kind
    with pytest.raises(IntegrityError, match="here is ambiguous"):
        parse_manifest(json.dumps(document).encode(), where="here")


CONFIG_OF = describe(b"{}", CONFIG)
LAYER = describe(b"layer", LAYER_GZIP, annotations={"b": "2", "a": "1"})


def test_what_is_written_is_read_and_written_the_same() -> None:
    manifest = Manifest(
        config=CONFIG_OF,
        layers=(LAYER,),
        annotations={"z": "1", "y": "\N{LATIN SMALL LETTER E WITH ACUTE}"},
        subject=describe(b"x", MANIFEST),
        artifact_type="application/x",
    )
    assert parse_manifest(manifest.text(), where="here") == manifest
    platform = Platform(os="linux", architecture="amd64")
    index = Index(manifests=(describe(b"x", MANIFEST, platform=platform),), annotations={"a": "b"})
    assert parse_manifest(index.text(), where="here") == index
    assert str(platform) == "linux/amd64"
    docker = dataclasses.replace(index, media_type=DOCKER_INDEX)
    assert parse_manifest(docker.text(), where="here") == docker


def test_the_bytes_do_not_depend_on_the_order_of_fields() -> None:
    text = Manifest(config=CONFIG_OF, layers=(LAYER,)).text()
    assert b" " not in text
    assert b'"annotations":{"a":"1","b":"2"}' in text
    again = dataclasses.replace(LAYER, annotations={"a": "1", "b": "2"})
    assert Manifest(config=CONFIG_OF, layers=(again,)).text() == text


def test_a_descriptor_is_of_bytes() -> None:
    found = describe(b"abc", "a/b")
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (found.digest, found.size) == (f"sha256:{found.sha256}", 3)
    assert found.digest == digest_of(b"abc")
    assert found.json() == {"mediaType": "a/b", "digest": found.digest, "size": 3}


def test_what_has_no_media_type_is_what_it_holds() -> None:
    index = {"schemaVersion": 2, "manifests": []}
    assert isinstance(parse_manifest(json.dumps(index).encode(), where="here"), Index)
    manifest = {"schemaVersion": 2, "config": CONFIG_OF.json(), "layers": []}
    assert isinstance(parse_manifest(json.dumps(manifest).encode(), where="here"), Manifest)


BROKEN: dict[str, tuple[object, str]] = {
    "no JSON": (None, "here: is not JSON"),
    "an older schema": ({"schemaVersion": 1}, "here: schemaVersion 1: images have 2"),
    "another kind": (
        {"schemaVersion": 2, "mediaType": "text/html"},
        "here: its media type is text/html, which is neither an image's manifest nor an index",
    ),
    "a media type that is none": ({"schemaVersion": 2, "mediaType": "x"}, "mediaType"),
    "no layers": ({"schemaVersion": 2, "config": CONFIG_OF.json()}, "layers: is missing"),
    "another algorithm": (
        {"schemaVersion": 2, "config": {**CONFIG_OF.json(), "digest": "sha512:" + "0" * 128}, "layers": []},
        "expected sha256: and 64 hex digits",
    ),
    "a size below nothing": (
        {"schemaVersion": 2, "config": {**CONFIG_OF.json(), "size": -1}, "layers": []},
        "config.size",
    ),
    "more than a registry takes": (
        {"schemaVersion": 2, "config": {**CONFIG_OF.json(), "size": MOST_BLOB + 1}, "layers": []},
        "config.size",
    ),
    "annotations that are no text": (
        {"schemaVersion": 2, "manifests": [], "annotations": {"a": 1}},
        "annotations.a",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_manifest(name: str) -> None:
    document, said = BROKEN[name]
    data = b"<html>" if document is None else json.dumps(document).encode()
    with pytest.raises(IntegrityError) as raised:
        parse_manifest(data, where="here")
    assert said in raised.value.message
    assert raised.value.hint
