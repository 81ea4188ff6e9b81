"""Many recipes on this machine's cores."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from envbuilder.assemble.packing import tools
from envbuilder.base.interpreter import Interpreter
from envbuilder.building.build import build
from envbuilder.config.settings import Settings
from envbuilder.deployment.config import read_config
from envbuilder.fleet.build_many import build_many, upload_wheelhouses
from envbuilder.fleet.local import run_here
from envbuilder.fleet.options import FleetOptions
from envbuilder.fleet.plan import Job, plan
from envbuilder.fleet.repository.apply import ApplyOptions, apply
from envbuilder.fleet.tasks import Terms, assemble_base, assemble_wheel, pack
from envbuilder.lockfile.check import check_lock
from envbuilder.recipe.load import load_recipe
from envbuilder.recipe.model import VerifyOptions
from envbuilder.store.local import CACHE_VARIABLE, Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.util.resources import sample_model
from tests.conftest import REPOSITORY
from tests.helpers.conda_project import Project
from tests.helpers.fleets import make_fleet
from tests.helpers.notes import Notes
from tests.helpers.repositories import write_own
from tests.helpers.trust import Team


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def test_the_same_bytes_as_one_by_one(tmp_path: Path, python311: Interpreter) -> None:
    jobs = make_fleet(tmp_path, python311, 3)
    outcomes = build_many(jobs, output=tmp_path / "envs")
    assert [(outcome.recipe, outcome.state) for outcome in outcomes] == [
        (f"fleet{number}", "built") for number in range(3)
    ]
    for job, outcome in zip(jobs, outcomes, strict=True):
        alone = build(
            job.recipe,
            job.lock,
            Session(settings=job.settings, store=Store.open(tmp_path / "another")),
            output=tmp_path / "alone",
        )
        assert outcome.sha256 == alone.sha256
        assert outcome.archive == tmp_path / "envs" / alone.archive.name
        assert outcome.archive.is_file()
    assert [outcome.state for outcome in build_many(jobs, output=tmp_path / "envs")] == ["already there"] * 3


def test_recipes_of_conda_packages_share_their_base(
    conda_project: Project, team: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "here"))
    where = f"file://{tmp_path}/elsewhere"
    settings = dataclasses.replace(conda_project.settings, store=where)
    jobs = []
    for name in ("one", "two"):
        recipe = dataclasses.replace(conda_project.recipe(conda=["greeting"]), name=name)
        jobs.append(Job(recipe=recipe, lock=conda_project.lock(recipe).lock, settings=settings))
    nodes = plan(
        jobs, Terms(tools=tools(jobs[0].lock), sharing=True, key=team.private.read_text()), tmp_path / "envs"
    )
    kinds = [node.work for node in nodes.values()]
    assert [kinds.count(work) for work in (assemble_base, assemble_wheel, pack)] == [1, 2, 2]
    done = dict(run_here(nodes))
    assert [one.failure for one in done.values() if one.failure is not None] == []
    outcomes = build_many(jobs, output=tmp_path / "envs")
    assert [(one.state, one.failure) for one in outcomes] == [("already there", None)] * 2
    alone = build(
        jobs[0].recipe,
        jobs[0].lock,
        Session(settings=conda_project.settings, store=conda_project.store),
        output=tmp_path / "alone",
    )
    assert outcomes[0].sha256 == alone.sha256
    remote = RemoteStore(where)
    assert jobs[0].lock.conda is not None
    assert all(remote.holds("artifacts", package.sha256) for package in jobs[0].lock.all_artifacts)


def test_what_goes_wrong_with_one_is_its_own(tmp_path: Path, python311: Interpreter) -> None:
    jobs = make_fleet(tmp_path, python311, 3)
    (tmp_path / "wheels" / "own1-1.0-py3-none-any.whl").unlink()
    notes = Notes()
    first, second, third = build_many(jobs, output=tmp_path / "envs", reporter=notes)
    assert (first.state, third.state) == ("built", "built")
    assert second.state == "refused"
    assert second.failure is not None
    assert second.failure.message.startswith("own1-1.0-py3-none-any.whl (sha256 ")
    assert second.failure.exit_code == 4
    assert second.row()[2].endswith("(run `envbuilder doctor` to see which sources respond)")


def test_what_only_this_machine_has_goes_to_the_workers(tmp_path: Path, python311: Interpreter) -> None:
    jobs = make_fleet(tmp_path, python311, 2, store=f"file://{tmp_path}/elsewhere")
    (tmp_path / "wheels" / "own1-1.0-py3-none-any.whl").write_bytes(b"another one")
    assert upload_wheelhouses(jobs) == 2
    remote = RemoteStore(f"file://{tmp_path}/elsewhere")
    held = [remote.holds("artifacts", artifact.sha256) for job in jobs for artifact in job.lock.artifacts]
    assert held == [True, True, True, False], "common and own0, common and own1"
    assert upload_wheelhouses(jobs) == 0


@pytest.mark.slow
def test_an_archive_is_verified_too(
    cpu_archive: Path, shared: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(shared / "store"))
    recipe = load_recipe(REPOSITORY / "recipes" / "cpu.yaml")
    recipe = dataclasses.replace(recipe, verify=dataclasses.replace(recipe.verify, server=False))
    job = Job(recipe=recipe, lock=check_lock(recipe), settings=settings)
    envs = tmp_path / "envs"
    envs.mkdir()
    for file in (cpu_archive, manifest_beside(cpu_archive)):
        os.link(file, envs / file.name)
    (outcome,) = build_many([job], output=envs, options=FleetOptions(verify=True, interpreter_change=True))
    assert (outcome.state, outcome.failure, outcome.archive) == (
        "already there",
        None,
        envs / cpu_archive.name,
    )
    assert outcome.verified is not None
    assert " passed" in outcome.verified
    (report,) = envs.glob("*.report-*.json")
    assert json.loads(report.read_bytes())["sha256"] == outcome.sha256

    # The same by way of `apply`, which finds proven what was proven just now; and a model that it does not serve.
    repository = tmp_path / "repository"
    shutil.copytree(sample_model(), repository / "mlp")
    write_own(repository, "own")
    source = repository / "own" / "1" / "model.py"
    source.write_text(f"import not_there\n{source.read_text()}")
    before = (repository / "own" / "config.pbtxt").read_bytes()
    (tmp_path / "envbuilder.toml").write_text(f'[models]\n"*" = "{recipe.path}"\n')
    monkeypatch.chdir(tmp_path)
    done = apply(
        repository, Session.open(), ApplyOptions(archives=envs, server=False, interpreter_change=True)
    )
    rows = {row.model.name: row for row in done.rows}
    assert (rows["mlp"].state, rows["own"].state) == ("change", "refused")
    assert rows["own"].why.startswith("its environment does not serve it: probe.model ")
    environment = read_config(repository / "mlp").environment
    assert environment is not None
    assert environment.endswith(cpu_archive.name)
    assert (repository / "own" / "config.pbtxt").read_bytes() == before

    nowhere = dataclasses.replace(recipe, verify=VerifyOptions(model=tmp_path / "nowhere"))
    job = dataclasses.replace(job, recipe=nowhere)
    (outcome,) = build_many([job], output=envs, options=FleetOptions(verify=True, interpreter_change=True))
    assert outcome.failure is not None
    assert outcome.failure.message == (
        f"the model directory {tmp_path}/nowhere is not on the machine that verifies"
    )
    assert outcome.failure.exit_code == 7
