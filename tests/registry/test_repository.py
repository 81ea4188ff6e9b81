"""Blobs and manifests of a repository: verified, asked for once, and read to their end."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import IntegrityError
from envbuilder.registry.connection import PUSH
from envbuilder.registry.documents import INDEX, LAYER_GZIP, MANIFEST, describe
from envbuilder.registry.reference import parse_reference
from envbuilder.registry.referrers import reading
from envbuilder.registry.repository import Repository
from tests.helpers.registries import (
    Faulty,
    Handler,
    on,
    times,
)
from tests.registry.conftest import BLOB, DATA, of, read, upload, with_tokens

pytestmark = pytest.mark.usefixtures("waits")


def test_a_download_where_ranges_are_unknown(faulty: Faulty) -> None:
    faulty.blobs[BLOB.digest] = DATA

    def half(handler: Handler) -> None:
        handler.reply(200, DATA[:5000], length=len(DATA))
        handler.drop()

    faulty.faults.append(times(1, on("GET .*blobs.*", half)))
    faulty.faults.append(
        lambda handler: (
            "Range" in handler.headers and (handler.error(416), True)[1]  # type: ignore[func-returns-value]  # it answers
        )
    )
    assert read(faulty) == DATA


def test_nothing_is_there_of_no_bytes(faulty: Faulty) -> None:
    empty = describe(b"", LAYER_GZIP)
    with of(faulty.host) as there:
        there.upload(empty, reading(b""))
    assert read(faulty, empty) == b""


def test_a_digest_that_is_not_that_of_the_bytes(faulty: Faulty) -> None:
    body = b'{"schemaVersion": 2}'
    lie = f"sha256:{'0' * 64}"
    answer = on(
        ".*manifests.*",
        lambda handler: handler.reply(200, body, Docker_Content_Digest=lie, Content_Type=MANIFEST),
    )
    faulty.faults.append(answer)
    with of(faulty.host) as there:
        for wanted in ("v1", lie):
            with pytest.raises(IntegrityError, match="not what its name says"):
                there.manifest(wanted)
        assert there.manifest(describe(body, MANIFEST).digest) is not None


def test_a_mount_that_is_refused_is_an_upload(faulty: Faulty) -> None:
    asked = with_tokens(faulty, lambda scopes: len(scopes) == 1)
    with of(faulty.host) as there:
        assert not there.mount(BLOB.digest, "another")
    assert asked == [["repository:a:pull,push", "repository:another:pull"]]
    upload(faulty)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405])
def test_a_registry_that_does_not_mount(code: int, faulty: Faulty) -> None:
    faulty.faults.append(on(r"POST .*mount=.*", lambda handler: handler.error(code)))
    with of(faulty.host) as there:
        assert not there.mount(BLOB.digest, "another")


def test_who_pushes_asks_for_nothing_less(faulty: Faulty) -> None:
    asked = with_tokens(faulty, lambda scopes: "push" in scopes[0])
    with Repository(parse_reference(f"oci://{faulty.host}/a"), Settings(), access=PUSH) as there:
        assert not there.holds(BLOB.digest)
        assert there.manifest("v1") is None
        assert list(there.pages(f"referrers/{BLOB.digest}")) != []
        there.upload(BLOB, reading(DATA))
    assert asked == [["repository:a:pull,push"]], "one token is enough"


def test_a_manifest_without_a_content_type_is_what_it_says(faulty: Faulty) -> None:
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
    faulty.faults.append(on("GET .*/manifests/v1", lambda handler: handler.reply(200, body)))
    with of(faulty.host) as there:
        found = there.manifest("v1")
    assert found is not None
    assert found[0].media_type == INDEX


def test_every_page_is_read_but_not_for_ever(faulty: Faulty) -> None:
    def page(handler: Handler) -> None:
        number = int(parse_qs(urlsplit(handler.path).query).get("page", ["0"])[0])
        link = f'</v2/a/referrers/x?page={number + 1}>; rel="{"last" if number == 3 else "next"}"'
        handler.reply(200, str(number).encode(), Link=link)

    faulty.faults.append(on("GET .*/referrers/.*", page))
    with of(faulty.host) as there:
        assert list(there.pages("referrers/x")) == [b"0", b"1", b"2", b"3"]
        assert len(list(there.pages("referrers/x?page=4"))) == 100
