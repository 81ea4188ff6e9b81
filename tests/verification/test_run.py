"""The checks of a verification in their order: what decides whether an archive can be run comes first."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest

from envbuilder.config.settings import Settings
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.verification.live.repository import deploy_models
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.verify import VerifyRequest, verify
from tests.helpers.environments import environment, failures, pack
from tests.helpers.own_models import FLOATS, HELPER, SCALING, write


@pytest.mark.network
@pytest.mark.slow
def test_an_archive_that_is_exchanged_after_it_was_read(
    tmp_path: Path, plain_archive: Path, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "e.tar.gz"
    shutil.copyfile(plain_archive, archive)

    def exchanged(*args: Any, **options: Any) -> Any:
        other = tmp_path / "other.tar.gz"
        other.write_bytes(gzip.compress(archive.read_bytes(), 1))
        other.replace(archive)
        return deploy_models(*args, **options)

    monkeypatch.setattr("envbuilder.verification.live.model_deployment.deploy_models", exchanged)
    model = write(tmp_path / "models", "own", HELPER, FLOATS, {"1/scaling.py": SCALING.encode()})
    request = VerifyRequest(model=model, server=ServerChoice(ask=False))
    report = verify(archive, Session(settings=settings, store=store), request)
    found = {check.id: check for check in report.checks}
    assert found["archive.unchanged"].status == "failed"
    assert found["archive.unchanged"].found == "e.tar.gz was replaced by another archive during verification"
    assert not any(check.id.startswith("probe.model") for check in report.checks)


@pytest.mark.torch
@pytest.mark.network
@pytest.mark.slow
def test_a_model_directory_that_cannot_be_deployed(
    tmp_path: Path, cpu_archive: Path, settings: Settings, store: Store
) -> None:
    report = verify(cpu_archive, Session(settings=settings, store=store), VerifyRequest(model=tmp_path))
    assert failures(report.checks) == {
        "model.deployed": (
            f"{tmp_path} has no config.pbtxt",
            "a model directory contains config.pbtxt and version folders (1/, 2/, …); "
            "inputs and outputs cannot be derived from a model",
        )
    }


def test_a_broken_archive_is_not_run(tmp_path: Path) -> None:
    tree = {path: data for path, data in environment().items() if path != "bin/activate"}
    archive = pack(tree, tmp_path, listed=tree)
    report = verify(archive, Session(settings=Settings(), store=Store(root=tmp_path / "store")))
    assert [check.id for check in report.failures] == ["layout.activate"]
    assert report.checks[-1].status == "omitted"
    assert report.checks[-1].found == "nothing was run: layout.activate failed"
    assert not report.passed


def test_a_python_that_does_not_start(tmp_path: Path) -> None:
    tree = environment()
    archive = pack(tree, tmp_path, listed=tree)
    report = verify(archive, Session(settings=Settings(), store=Store(root=tmp_path / "store")))
    assert failures(report.checks) == {
        "contract.launch": (
            "the environment's Python, launched sourced as pytriton-0.7.0 does: it exited with 3:\n  | (nothing)",
            "the last lines show what is missing",
        )
    }
    # A server is asked all the same, where there is one.
    assert report.checks[-1].found == "no tritonserver on PATH or in the store"


def test_several_releases(tmp_path: Path) -> None:
    tree = environment()
    archive = pack(tree, tmp_path, listed=tree)
    report = verify(
        archive,
        Session(settings=Settings(), store=Store(root=tmp_path / "store")),
        VerifyRequest(
            releases=(
                "23.10",
                "26.06",
            )
        ),
    )
    wrong = {(check.release, check.id) for check in report.failures}
    assert wrong == {("23.10", "layout.libpython"), ("26.06", "layout.libpython")}
