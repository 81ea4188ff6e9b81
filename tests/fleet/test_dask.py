"""Many recipes on a real Dask cluster of separate processes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from envbuilder import __version__
from envbuilder.assemble.packing import tools
from envbuilder.base.interpreter import Interpreter
from envbuilder.building.build import build
from envbuilder.config.settings import Settings
from envbuilder.errors import ClusterError, RecipeError
from envbuilder.fleet.build_many import build_many
from envbuilder.fleet.dask import run_on_cluster
from envbuilder.fleet.options import FleetOptions
from envbuilder.fleet.plan import Job, plan
from envbuilder.fleet.tasks import Done, Terms
from envbuilder.signing.dsse import parse_envelope
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.store.trust import KEY_VARIABLE
from tests.helpers.dask import Cluster, cluster_in
from tests.helpers.fleets import make_fleet, on
from tests.helpers.notes import Notes
from tests.helpers.s3 import make_bucket, s3_server, use_server
from tests.helpers.trust import Team

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_in(tmp_path) as running:
        yield running


@pytest.fixture
def key(team: Team, monkeypatch: pytest.MonkeyPatch) -> Team:
    """The team that asks for the runs has a key that lasts; its workers do not have it."""
    monkeypatch.setenv(KEY_VARIABLE, str(team.private))
    return team


@pytest.fixture
def jobs(tmp_path: Path, python311: Interpreter) -> list[Job]:
    return make_fleet(tmp_path, python311, 4, store=f"file://{tmp_path}/elsewhere")


def alone(job: Job, folder: Path) -> str:
    """Return the sha256 of what one machine builds by itself."""
    settings = Settings(find_links=job.settings.find_links, no_index=True)
    store = Store.open(folder / "another")
    return build(
        job.recipe, job.lock, Session(settings=settings, store=store), output=folder / "alone"
    ).sha256


def test_builders_that_meet_in_an_object_store(
    cluster: Cluster, jobs: list[Job], key: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(tmp_path) as endpoint:
        make_bucket(endpoint, "envs")
        variables = use_server(endpoint, monkeypatch)
        stores = [cluster.add_worker(env={**variables, KEY_VARIABLE: ""}) for _ in range(2)]
        jobs = on(jobs, "s3://envs")
        outcomes = build_many(jobs, output=tmp_path / "envs", options=FleetOptions(cluster=cluster.address))
        assert [outcome.state for outcome in outcomes] == ["built"] * 4
        assert [outcome.sha256 for outcome in outcomes] == [alone(job, tmp_path) for job in jobs]
        assert all(outcome.archive is not None and outcome.archive.is_file() for outcome in outcomes)
        assert all((store / "segments").is_dir() for store in stores), "both had work"
        remote = RemoteStore("s3://envs")
        assert all(
            remote.holds("artifacts", artifact.sha256) for job in jobs for artifact in job.lock.artifacts
        )
        again = build_many(jobs, output=tmp_path / "again", options=FleetOptions(cluster=cluster.address))
        assert [outcome.state for outcome in again] == ["already there"] * 4
        assert [outcome.sha256 for outcome in again] == [outcome.sha256 for outcome in outcomes]
        # Everything that the workers signed has the lasting key's signature now, and not the run's.
        system = S3FileSystem()
        objects = [name for name in system.find("envs") if name.split("/")[1] not in RAW]
        assert {name.split("/")[1] for name in objects} == {"segments", "manifests", "builds"}
        for name in objects:
            assert [one.keyid for one in parse_envelope(system.cat_file(name)).signatures] == [key.keyid]


RAW = ("artifacts", "archives", "blobs")


def test_a_run_believes_what_its_workers_signed_and_nobody_else(
    cluster: Cluster, jobs: list[Job], team: Team, tmp_path: Path
) -> None:
    """Without a key that lasts, each run makes everything but artifacts again; a stranger's segments count in none."""
    told = tmp_path / "told"
    cluster.add_worker(first=_TOLD.format(told=str(told)))
    notes = Notes()
    outcomes = build_many(
        jobs, output=tmp_path / "envs", options=FleetOptions(cluster=cluster.address), reporter=notes
    )
    assert [outcome.sha256 for outcome in outcomes] == [alone(job, tmp_path) for job in jobs]
    first = sorted(told.read_text().split())
    assert len(first) == len(set(first)), "what one task made, the others took"
    assert notes.notes == [
        f"{jobs[0].settings.store}: what this run makes there is signed by a key that ends with it, so that a later "
        "run takes artifacts alone from there; ENVBUILDER_STORE_KEY names the file of a private key that lasts"
    ]
    told.unlink()
    shutil.rmtree(tmp_path / "worker-0" / "store")
    again = build_many(jobs, output=tmp_path / "again", options=FleetOptions(cluster=cluster.address))
    assert [outcome.sha256 for outcome in again] == [outcome.sha256 for outcome in outcomes]
    assert sorted(told.read_text().split()) == first


_TOLD = """
from envbuilder.assemble import assembler
really = assembler.keep
def keep(segment, store):
    with open({told!r}, "a") as file:
        file.write(segment.label + "\\n")
    return really(segment, store)
assembler.keep = keep
from envbuilder.fleet import tasks
packs = tasks.build
def build(recipe, *args, **named):
    with open({told!r}, "a") as file:
        file.write("pack-" + recipe.name + "\\n")
    return packs(recipe, *args, **named)
tasks.build = build
"""
"""Writes down which segments are made, and which archives."""


@pytest.mark.usefixtures("key")
def test_a_worker_killed_in_the_middle(cluster: Cluster, jobs: list[Job], team: Team, tmp_path: Path) -> None:
    """It costs what it was at: every archive is built, and no segment that was finished is made again."""
    told = tmp_path / "told"
    for _ in range(2):
        cluster.add_worker(first=_TOLD.format(told=str(told)))
    nodes = plan(jobs, Terms(tools=tools(), sharing=True, key=team.private.read_text()), None)
    done: dict[str, Done] = {}
    packed: set[str] = set()
    for key, result in run_on_cluster(nodes, cluster.address):
        done[key] = result
        if key.startswith("pack-") and not packed:
            packed = {key.rpartition("-")[0] for key in done if key.startswith("pack-")}
            cluster.workers[0].kill()
            cluster.workers[0].wait()
    assert set(done) == set(nodes)
    assert [result.failure for result in done.values()] == [None] * len(nodes)
    lines = told.read_text().split()
    segments = [line for line in lines if not line.startswith("pack-")]
    packs = [line for line in lines if line.startswith("pack-")]
    expected = {"base", "activation", *(a.filename for job in jobs for a in job.lock.artifacts)}
    assert set(segments) == expected
    assert len(segments) <= len(expected) + 2, "it was at one task, which makes two segments at most"
    assert set(packs) == {f"pack-{job.recipe.name}" for job in jobs}
    assert [packs.count(line) for line in packed] == [1] * len(packed), (
        "what had been fetched is not done again"
    )
    outcomes = build_many(
        jobs, output=tmp_path / "envs", options=FleetOptions(cluster=cluster.address, pull=False)
    )
    assert [outcome.sha256 for outcome in outcomes] == [alone(job, tmp_path) for job in jobs]
    assert not (tmp_path / "envs").exists()
    assert outcomes[0].row() == ("fleet0", "already there", f"sha256 {outcomes[0].sha256}")


def test_a_worker_with_another_version_is_refused_in_words(cluster: Cluster, jobs: list[Job]) -> None:
    cluster.add_worker()
    cluster.add_worker(first="import envbuilder.util.version\nenvbuilder.util.version.VERSION = '0.0.7'")
    _wait_for_two(cluster)
    with pytest.raises(ClusterError) as raised:
        build_many(jobs, output=cluster.folder / "envs", options=FleetOptions(cluster=cluster.address))
    lines = str(raised.value).splitlines()
    assert lines[0] == "workers are refused:"
    assert lines[1].startswith("  tcp://127.0.0.1:")
    assert lines[1].endswith(f": another version of the tool: envbuilder 0.0.7 for {__version__}")
    assert lines[2].startswith("  hint: install the same envbuilder on all of them")
    assert raised.value.exit_code == 1
    assert not (cluster.folder / "envs").exists()


def test_a_worker_that_comes_later_with_another_version_makes_nothing(
    cluster: Cluster, jobs: list[Job]
) -> None:
    cluster.add_worker()
    nodes = plan(jobs, Terms(tools={**tools(), "envbuilder": "9"}, sharing=True), None)
    found = dict(run_on_cluster(nodes, cluster.address))
    failures = {result.failure.message for result in found.values() if result.failure is not None}
    assert failures == {f"another version of the tool: envbuilder {__version__} for 9"}
    assert len(found) == len(nodes)
    assert not (cluster.folder / "elsewhere").exists()


def _wait_for_two(cluster: Cluster) -> None:
    from distributed import Client

    client = Client(cluster.address, set_as_default=False)  # type: ignore[no-untyped-call]  # says no types
    client.wait_for_workers(2, timeout=60)
    client.close()  # type: ignore[no-untyped-call]  # says no types


def test_a_cluster_that_goes_away(cluster: Cluster, jobs: list[Job], team: Team) -> None:
    cluster.add_worker()
    nodes = plan(jobs, Terms(tools=tools(), sharing=True, key=team.private.read_text()), None)
    results = run_on_cluster(nodes, cluster.address, patience=4)
    next(results)
    cluster.end()
    with pytest.raises(ClusterError) as raised:
        for _ in results:
            pass
    text = str(raised.value)
    assert text.startswith(f"the cluster {cluster.address} went away: ")
    assert text.endswith(
        f" of {len(nodes)} tasks were done\n"
        "  hint: what they made is in the store, and what a lasting key signed there counts: build again"
    )


def test_all_workers_gone(cluster: Cluster, jobs: list[Job], team: Team) -> None:
    cluster.add_worker()
    nodes = plan(jobs, Terms(tools=tools(), sharing=True, key=team.private.read_text()), None)
    results = run_on_cluster(nodes, cluster.address, patience=4)
    next(results)
    cluster.workers[0].kill()
    with pytest.raises(ClusterError, match="went away"):
        for _ in results:
            pass


def test_a_cluster_without_workers(cluster: Cluster, jobs: list[Job]) -> None:
    with pytest.raises(ClusterError) as raised:
        next(
            run_on_cluster(plan(jobs, Terms(tools=tools(), sharing=True), None), cluster.address, patience=1)
        )
    assert raised.value.message == f"the cluster {cluster.address} has no workers"


def test_no_cluster_at_all(jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envbuilder.fleet.dask.CONNECT_SECONDS", 2.0)
    with pytest.raises(ClusterError) as raised:
        build_many(jobs, output=tmp_path / "envs", options=FleetOptions(cluster="tcp://127.0.0.1:9"))
    assert raised.value.message.startswith("no Dask scheduler answers at tcp://127.0.0.1:9: ")


def test_a_cluster_and_no_store(jobs: list[Job], tmp_path: Path, python311: Interpreter) -> None:
    with pytest.raises(RecipeError) as raised:
        build_many(
            make_fleet(tmp_path, python311, 1),
            output=tmp_path / "envs",
            options=FleetOptions(cluster="tcp://127.0.0.1:9"),
        )
    assert raised.value.message == "a cluster's workers meet in a remote store, and none is named"
