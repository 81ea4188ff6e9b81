"""Keys and records of builds: what an archive is made of decides under which key its record is found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from envbuilder.building.record import (
    archive_name,
    build_key,
    key_of,
    parse_record,
    record_of,
    record_of_archive,
)
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.util.documents import DocumentError
from tests.helpers.small import Small

SHA256 = "ab" * 32
RECORD = {
    "archive": f"small-{SHA256[:12]}.tar.gz",
    "sha256": SHA256,
    "size": 5,
    "segments": 4,
    "manifest": "1" * 64,
}


def test_the_manifest_of_an_archive_has_the_key_that_it_was_built_under(built_small: Small) -> None:
    manifest = built_small.build().manifest
    key = build_key(built_small.recipe, built_small.lock, built_small.lock.interpreter)
    assert key_of(manifest) == key


CHANGES: dict[str, Callable[[Small], Small]] = {
    "name": lambda small: dataclasses.replace(small, recipe=dataclasses.replace(small.recipe, name="other")),
    "lock": lambda small: dataclasses.replace(small, lock=dataclasses.replace(small.lock, artifacts=())),
    "level": lambda small: small.with_pack(level=9),
    "bytecode": lambda small: small.with_pack(bytecode=False),
    "uncompressed": lambda small: small.with_pack(uncompressed=True),
    "exclude": lambda small: small.with_pack(exclude=("**/x",)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_input_is_another_key(built_small: Small, change: str) -> None:
    def key(small: Small) -> str:
        return build_key(small.recipe, small.lock, built_small.lock.interpreter)

    assert key(CHANGES[change](built_small)) != key(built_small)


@pytest.mark.parametrize("changes", [{"version": "3.11.99"}, {"origin": "else"}, {"digest": "9" * 64}])
def test_another_interpreter_is_another_key(built_small: Small, changes: dict[str, str]) -> None:
    def key(interpreter: LockedInterpreter) -> str:
        return build_key(built_small.recipe, built_small.lock, interpreter)

    here = built_small.lock.interpreter
    assert key(dataclasses.replace(here, **changes)) != key(here)


def test_what_a_build_reports_is_what_its_archive_says(built_small: Small) -> None:
    report = built_small.build()
    record = record_of(report)
    assert record_of_archive(report.archive, report.sha256, report.manifest) == record
    assert parse_record(record.text(), where="a record") == record
    assert (record.archive, record.size) == (report.archive.name, report.archive.stat().st_size)


def test_a_plain_tar_is_named_so(built_small: Small) -> None:
    manifest = built_small.build().manifest
    assert archive_name(manifest, SHA256) == "small-abababababab.tar.gz"
    plain = dataclasses.replace(manifest, pack={**manifest.pack, "uncompressed": True})
    assert archive_name(plain, SHA256) == "small-abababababab.tar"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"archive": "../small-abababababab.tar.gz"}, "archive: expected an archive's file name, found "),
        ({"archive": "small.tar.gz"}, "archive: expected an archive's file name, found "),
        (
            {"archive": "small-cdcdcdcdcdcd.tar"},
            "small-cdcdcdcdcdcd.tar is not named by its sha256, abababababab",
        ),
        ({"sha256": "ab"}, "sha256: expected "),
        ({"size": -1}, "size: expected "),
        ({"size": "5"}, "size: expected "),
        ({"segments": 10**7}, "segments: expected "),
        ({"manifest": None}, "manifest: expected "),
    ],
)
def test_a_record_that_no_build_wrote(changes: dict[str, object], said: str) -> None:
    assert parse_record(json.dumps(RECORD).encode(), where="a record").size == 5
    with pytest.raises(DocumentError, match=r"^a record: ") as caught:
        parse_record(json.dumps({**RECORD, **changes}).encode(), where="a record")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", RECORD)
def test_a_record_without_one_of_its_fields(name: str) -> None:
    less = {key: value for key, value in RECORD.items() if key != name}
    with pytest.raises(DocumentError, match=name):
        parse_record(json.dumps(less).encode(), where="a record")
