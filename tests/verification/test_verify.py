"""The whole verification, of the real archive, with a real server."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import RecipeError, VerifyError
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.verify import VerifyRequest, report_schema, verify
from tests.helpers.environments import assert_all_passed


@pytest.mark.torch
@pytest.mark.server
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.usefixtures("server")  # in the store of this run, so that it is at hand
def test_an_archive_that_moved(tmp_path: Path, cpu_archive: Path, settings: Settings, store: Store) -> None:
    archive = tmp_path / "elsewhere" / cpu_archive.name
    archive.parent.mkdir()
    shutil.copyfile(cpu_archive, archive)
    # Other tests write into the shared store at the same time.
    alone = dataclasses.replace(store, readonly=True, overflow=tmp_path / "overflow")
    report = verify(archive, Session(settings=settings, store=alone))
    assert_all_passed(report.checks)
    assert report.isolated
    assert report.releases == ("pytriton-0.7.0",)
    assert report.server == "pytriton-0.7.0 (Triton 2.51.0, release 24.10)"
    assert report.environment["torch"] == "2.13.0+cpu"
    found = {check.id: check.found for check in report.checks}
    assert found["server.http"] == "answers by http for batches of 1, 8, 64, the same as eager torch"
    assert found["server.grpc"] == "answers by grpc for batches of 1, 8, 64, the same as eager torch"
    jsonschema.validate(json.loads(report.json()), report_schema())
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    assert list((tmp_path / "overflow" / "tmp").iterdir()) == []


def test_no_such_release(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown Triton release '1\\.2'"):
        verify(
            tmp_path / "x",
            Session(settings=Settings(), store=Store(root=tmp_path / "store")),
            VerifyRequest(releases=("1.2",)),
        )


def test_no_archive(tmp_path: Path) -> None:
    store = Store(root=tmp_path / "store")
    with pytest.raises(VerifyError, match="No such file or directory"):
        verify(tmp_path / "x.tar.gz", Session(settings=Settings(), store=store))
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
