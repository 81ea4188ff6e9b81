"""What refers to a manifest: listed by the registry, or by an index under a tag of its digest."""

from __future__ import annotations

import json

import pytest

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry.documents import EMPTY, INDEX, MANIFEST, Descriptor, Index, Manifest, describe
from envbuilder.registry.referrers import (
    ForeignReferrerError,
    attach,
    keep_listed,
    read_referrer,
    reading,
    referrers,
)
from tests.helpers.registries import Faulty, Handler
from tests.registry.conftest import of

pytestmark = pytest.mark.usefixtures("waits")
IMAGE = describe(b"an image", MANIFEST)
OTHER = describe(b"another image", MANIFEST)
REPORT, SBOM = "application/x.report", "application/x.sbom"
TAG = IMAGE.digest.replace(":", "-")


def attached(faulty: Faulty, data: bytes, kind: str = REPORT, *, to: Descriptor = IMAGE) -> Descriptor:
    with of(faulty.host) as there:
        described, new = attach(there, to, data, kind, annotations={"title": "x"})
    assert new
    return described


def listed(faulty: Faulty, kind: str | None = None) -> list[str]:
    with of(faulty.host) as there:
        return [one.descriptor.digest for one in referrers(there, IMAGE.digest, kind)]


@pytest.mark.parametrize("knows", [True, False], ids=["listed by the registry", "listed under a tag"])
def test_what_is_attached_is_listed_and_read(faulty: Faulty, knows: bool) -> None:
    faulty.referrers = knows
    report, sbom = attached(faulty, b"fine"), attached(faulty, b"parts", SBOM)
    attached(faulty, b"of another", to=OTHER)
    assert set(listed(faulty)) == {report.digest, sbom.digest}
    with of(faulty.host) as there:
        (found,) = referrers(there, IMAGE.digest, REPORT)
        assert (found.artifact_type, dict(found.annotations)) == (REPORT, {"title": "x"})
        assert read_referrer(there, found, IMAGE.digest, 100) == b"fine"
    assert (TAG in faulty.manifests) is not knows


@pytest.mark.parametrize("knows", [True, False])
def test_the_same_document_is_sent_once(faulty: Faulty, knows: bool) -> None:
    faulty.referrers = knows
    first = attached(faulty, b"fine")
    writes = faulty.count("(PUT|POST|PATCH) .*")
    with of(faulty.host) as there:
        assert attach(there, IMAGE, b"fine", REPORT, annotations={"title": "x"}) == (first, False)
    assert faulty.count("(PUT|POST|PATCH) .*") == writes


def test_what_stands_in_both_lists_is_one(faulty: Faulty) -> None:
    """A registry that learned to list referrers still has the tags of before."""
    report = attached(faulty, b"fine")
    faulty.manifests[TAG] = (INDEX, Index(manifests=(report, OTHER)).text())
    assert listed(faulty) == [report.digest, OTHER.digest]


def test_what_another_process_undid_is_listed_again(faulty: Faulty) -> None:
    faulty.referrers = False
    report = attached(faulty, b"fine")
    faulty.manifests[TAG] = (INDEX, Index(manifests=(OTHER,)).text())
    with of(faulty.host) as there:
        keep_listed(there, IMAGE.digest, [report])
        assert set(listed(faulty)) == {report.digest, OTHER.digest}
        writes = faulty.count("PUT .*")
        keep_listed(there, IMAGE.digest, [report])
    assert faulty.count("PUT .*") == writes, "it is listed"


def test_a_list_that_another_process_writes_each_time(faulty: Faulty) -> None:
    faulty.referrers = False
    writes: list[str] = []

    def undo(handler: Handler) -> bool:
        """Answer who looks again with what somebody else has written meanwhile."""
        if handler.command == "PUT" and handler.path.endswith(TAG):
            writes.append(handler.path)
        elif writes and handler.command == "GET" and handler.path.endswith(TAG):
            faulty.manifests[TAG] = (INDEX, Index(manifests=(OTHER,)).text())
        return False

    faulty.faults.append(undo)
    with pytest.raises(StoreError, match="is being written by another process") as raised:
        attached(faulty, b"fine")
    assert raised.value.hint == "push again"
    assert len(writes) == 5


def refused(faulty: Faulty, described: Descriptor, most: int = 100) -> str:
    with of(faulty.host) as there:
        (found,) = [
            one for one in referrers(there, IMAGE.digest) if one.descriptor.digest == described.digest
        ]
        with pytest.raises(ForeignReferrerError) as raised:
            read_referrer(there, found, IMAGE.digest, most)
    return raised.value.message


def put(faulty: Faulty, manifest: Manifest | Index) -> Descriptor:
    kind = MANIFEST if isinstance(manifest, Manifest) else INDEX
    with of(faulty.host) as there:
        there.put_manifest(manifest.text(), kind)
    described = describe(manifest.text(), kind)
    faulty.manifests[TAG] = (INDEX, Index(manifests=(described,)).text())
    return described


def test_what_is_no_document_about_the_image(faulty: Faulty) -> None:
    empty, body = describe(b"{}", EMPTY), describe(b"fine", REPORT)
    two = put(faulty, Manifest(config=empty, layers=(body, body), subject=IMAGE))
    assert refused(faulty, two).endswith("is not a single document")
    assert refused(faulty, put(faulty, Index(manifests=()))).endswith("is not a single document")
    about_nothing = put(faulty, Manifest(config=empty, layers=(body,)))
    assert refused(faulty, about_nothing).endswith(
        f"does not refer to {IMAGE.digest[:19]}".rpartition(": ")[2]
    )
    other = put(faulty, Manifest(config=empty, layers=(body,), subject=OTHER))
    assert f"does not refer to {IMAGE.digest[:19]}" in refused(faulty, other)
    faulty.manifests.pop(TAG)
    assert refused(faulty, attached(faulty, b"a long report"), most=5).endswith("is not a single document")


def test_a_document_that_is_listed_and_not_there(faulty: Faulty) -> None:
    report = attached(faulty, b"fine")
    with of(faulty.host) as there:
        (found,) = referrers(there, IMAGE.digest)
        del faulty.manifests[report.digest]
        with pytest.raises(StoreError, match=f"lists {report.digest[:19]} but does not have it"):
            read_referrer(there, found, IMAGE.digest, 100)


def test_a_list_that_is_none(faulty: Faulty) -> None:
    faulty.manifests[TAG] = (INDEX, json.dumps({"schemaVersion": 2, "mediaType": INDEX}).encode())
    with pytest.raises(IntegrityError, match="manifests: is missing"):
        listed(faulty)
    manifest = Manifest(config=describe(b"{}", EMPTY), layers=())
    faulty.manifests[TAG] = (MANIFEST, manifest.text())
    assert listed(faulty) == [], "somebody else's tag"


def test_bytes_by_offset() -> None:
    read = reading(b"abcdef")
    assert (read(0, 4), read(4, 4), read(6, 4)) == (b"abcd", b"ef", b"")
