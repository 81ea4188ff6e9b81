"""The upload of a blob: in chunks, and on from where it broke off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from envbuilder.errors import IntegrityError, StoreError
from envbuilder.registry.referrers import reading
from tests.helpers.registries import (
    Faulty,
    Handler,
    on,
    times,
)
from tests.registry.conftest import BLOB, DATA, of, upload

pytestmark = pytest.mark.usefixtures("waits")


def keep(handler: Handler, count: int) -> None:
    """Lose what was uploaded, but for *count* bytes, and say that the range does not fit."""
    there = handler.registry.uploads[handler.path.rpartition("/")[2]]
    del there[count:]
    handler.error(416)


def forget(handler: Handler) -> None:
    handler.registry.uploads[handler.path.rpartition("/")[2]] = bytearray()
    del handler.registry.uploads[handler.path.rpartition("/")[2]]
    handler.error(404, "BLOB_UPLOAD_UNKNOWN")


def third(fault: Callable[[Handler], bool]) -> Callable[[Handler], bool]:
    """Let two pass first."""
    passed: list[bool] = []

    def late(handler: Handler) -> bool:
        if handler.command == "PATCH":
            passed.append(True)
        return len(passed) > 2 and fault(handler)

    return late


@pytest.mark.parametrize("kept", [2000, 1500, 0])
def test_an_upload_goes_on_from_what_the_registry_still_has(faulty: Faulty, kept: int) -> None:
    faulty.faults.append(third(times(1, on("PATCH .*", lambda handler: keep(handler, kept)))))
    upload(faulty)
    assert faulty.count("POST .*") == 1


def test_an_upload_that_the_registry_has_forgotten_begins_anew(faulty: Faulty) -> None:
    faulty.faults.append(third(times(1, on("PATCH .*", forget))))
    upload(faulty)
    assert faulty.count("POST .*") == 2


def test_a_registry_that_loses_everything_again_and_again(faulty: Faulty) -> None:
    faulty.faults.append(third(on("PATCH .*", lambda handler: keep(handler, 0))))
    with pytest.raises(StoreError, match="answered 416"):
        upload(faulty)
    assert faulty.count("PATCH .*") < 12


@pytest.mark.parametrize(
    ("least", "sizes"), [("3000", [3000, 3000, 3000, 1240]), ("\xb2", [1000] * 10 + [240])]
)
def test_chunks_as_large_as_the_registry_wants(faulty: Faulty, least: str, sizes: list[int]) -> None:
    def begin(handler: Handler) -> None:
        handler.registry.uploads["u"] = bytearray()
        handler.reply(202, Location="/v2/a/blobs/uploads/u", OCI_Chunk_Min_Length=least)

    faulty.faults.append(on("POST .*", begin))
    assert upload(faulty) == sizes
    faulty.faults[:] = [on("POST .*", lambda handler: handler.reply(202, OCI_Chunk_Min_Length="9" * 15))]
    with pytest.raises(StoreError, match="wants chunks of"):
        upload(faulty)


def test_a_file_that_became_shorter_ends_the_upload(faulty: Faulty) -> None:
    with of(faulty.host) as there, pytest.raises(IntegrityError, match=r"ends after 2\.0 kB of 10\.2 kB"):
        there.upload(BLOB, reading(DATA[:2000]))
    assert faulty.blobs == {}


def test_who_gets_on_may_fail_as_often_as_it_takes(faulty: Faulty) -> None:
    """Only failures one after the other, without a byte more, are counted."""
    asked: list[str] = []

    def every_other(handler: Handler) -> bool:
        if handler.command != "PATCH":
            return False
        asked.append(handler.path)
        if len(asked) % 2:
            handler.error(500)
        return len(asked) % 2 == 1

    faulty.faults.append(every_other)
    upload(faulty)
    assert len(asked) == 22, "eleven chunks, each refused once"
