"""The tasks of builders: each finds what another made, and a failure is its result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside, read_manifest
from envbuilder.assemble.packing import pack_rules, tools
from envbuilder.base.interpreter import Interpreter
from envbuilder.building.build import build
from envbuilder.errors import IntegrityError
from envbuilder.fleet.plan import Job
from envbuilder.fleet.tasks import (
    Done,
    Failure,
    Terms,
    assemble_base,
    assemble_wheel,
    check_tools,
    pack,
    verify,
)
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from tests.helpers.fleets import make_fleet, on
from tests.helpers.trust import Team

FAILED = Failure(message="no disk", hint="buy one", exit_code=6)


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


@pytest.fixture
def job(tmp_path: Path, python311: Interpreter) -> Job:
    (made,) = make_fleet(tmp_path, python311, 1)
    return made


@pytest.fixture
def terms() -> Terms:
    return Terms(tools=tools(), sharing=False)


def wheel(terms: Terms, job: Job, number: int = 0) -> Done:
    artifact = job.lock.artifacts[number]
    return assemble_wheel(terms, artifact, job.recipe, job.lock, pack_rules(job.recipe), job.settings)


def base(terms: Terms, job: Job) -> Done:
    return assemble_base(terms, job.recipe, job.lock, pack_rules(job.recipe), job.settings)


def test_an_archive_from_what_others_made(job: Job, terms: Terms, tmp_path: Path) -> None:
    made = [base(terms, job), wheel(terms, job, 0), wheel(terms, job, 1)]
    assert [(done.failure, done.notes, done.signed) for done in made] == [(None, (), ())] * 3
    assert all(done.seconds > 0 for done in made)
    done = pack(terms, job.recipe, job.lock, job.settings, tmp_path / "envs", *made)
    assert done.failure is None
    assert done.report is not None
    assert (done.report.segments_made, done.report.already_there) == (0, False)
    store = Store.open(tmp_path / "another")
    alone = build(
        job.recipe, job.lock, Session(settings=job.settings, store=store), output=tmp_path / "alone"
    )
    assert done.report.sha256 == alone.sha256
    # A scheduler passes it on: it leaves out what is long.
    assert done.report.manifest.files == ()
    assert read_manifest(manifest_beside(done.report.archive)).files != ()


def test_a_task_that_failed_ends_those_after_it(job: Job, terms: Terms, tmp_path: Path) -> None:
    done = pack(terms, job.recipe, job.lock, job.settings, tmp_path, Done(), Done(failure=FAILED))
    assert dataclasses.replace(done, seconds=0.0) == Done(failure=FAILED)
    after = verify(terms, job.recipe, job.settings, tmp_path, done)
    assert after.failure == FAILED
    assert list(tmp_path.glob("fleet*")) == []


def test_what_goes_wrong_is_a_result(job: Job, terms: Terms, tmp_path: Path) -> None:
    (tmp_path / "wheels" / job.lock.artifacts[1].filename).unlink()
    failure = wheel(terms, job, 1).failure
    assert failure is not None
    assert failure.message.startswith(f"{job.lock.artifacts[1].filename} (sha256 ")
    assert (failure.hint, failure.exit_code) == ("run `envbuilder doctor` to see which sources respond", 4)
    locked = dataclasses.replace(job.lock.interpreter, digest="9" * 64)
    other = dataclasses.replace(job, lock=dataclasses.replace(job.lock, interpreter=locked))
    failure = base(terms, other).failure
    assert failure is not None
    assert failure.exit_code == IntegrityError.exit_code
    changed = base(dataclasses.replace(terms, interpreter_change=True), other)
    assert changed.failure is None


def test_a_machine_whose_tools_are_others_makes_nothing(job: Job, tmp_path: Path) -> None:
    terms = Terms(tools={**tools(), "patchelf": "0.0"}, sharing=False)
    for done in (base(terms, job), wheel(terms, job), pack(terms, job.recipe, job.lock, job.settings, None)):
        assert done.failure is not None
        assert done.failure.message == f"another version of the tool: patchelf {tools()['patchelf']} for 0.0"
    assert not (tmp_path / "store" / "segments").exists()


def test_tools_are_compared_one_by_one() -> None:
    check_tools({"a": "1"}, {"a": "1", "b": "2"})
    with pytest.raises(IntegrityError) as caught:
        check_tools({"b": "1", "a": "2", "c": "3"}, {"a": "1", "c": "3"})
    assert caught.value.message == "another version of the tool: a 1 for 2, b missing for 1"
    assert caught.value.hint == "install the same envbuilder there"


def test_what_is_shared_is_taken_by_the_next_machine(
    job: Job, terms: Terms, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = on([job], f"file://{tmp_path}/remote")
    terms = dataclasses.replace(terms, sharing=True, key=team.private.read_text())
    made = [base(terms, job), wheel(terms, job, 0), wheel(terms, job, 1)]
    assert [sorted({kind for kind, _ in done.signed}) for done in made] == [["segments"]] * 3
    remote = RemoteStore(f"file://{tmp_path}/remote")
    assert all(remote.holds("artifacts", artifact.sha256) for artifact in job.lock.artifacts)

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another machine"))
    for path in (tmp_path / "wheels").iterdir():
        path.unlink()
    again = wheel(terms, job, 0)
    assert (again.failure, again.signed) == (None, ()), "it is there"
    done = pack(terms, job.recipe, job.lock, job.settings, None, *made)
    assert done.failure is None
    assert done.report is not None
    assert done.report.segments_made == 0
    assert not done.report.archive.exists(), "it is in the remote store only"
    assert sorted({kind for kind, _ in done.signed}) == ["builds", "manifests"]
    assert remote.holds("archives", done.report.sha256)
