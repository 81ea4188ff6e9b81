"""Stores that are not there, refuse, do not answer, answer half, or hold something else."""

from __future__ import annotations

import dataclasses
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from envbuilder.archive.manifest import manifest_beside
from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.config.settings import Settings
from envbuilder.errors import FetchError, IntegrityError, RecipeError, StoreError
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.store.trust import Trust
from envbuilder.transfer.archives import Transfer
from envbuilder.transfer.push_pull import pull_archive, push_archive, push_build
from envbuilder.util.extras import installing
from tests.helpers.notes import Notes
from tests.helpers.s3 import CREDENTIALS, use_server
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small
from tests.helpers.trust import Team

DENIED = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class _Refuses(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(DENIED)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(DENIED)

    do_HEAD = do_PUT = do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class _Half(_Refuses):
    """Says that it has everything, and breaks off in the middle of it."""

    def do_GET(self) -> None:
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Length", "1000")
        self.send_header("Content-Range", "bytes 0-999/1000")
        self.send_header("ETag", '"0"')
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"x" * 500)
            self.close_connection = True

    do_HEAD = do_GET


class _Silent(_Refuses):
    """Takes a connection and says nothing."""

    def do_GET(self) -> None:
        time.sleep(30)

    do_HEAD = do_PUT = do_POST = do_GET


@contextmanager
def serving(kind: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(params=["gone", "refuses", "half", "silent"])
def faulty(
    request: pytest.FixtureRequest, team: Team, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, RemoteStore]]:
    """A store with a fault, and what it is."""
    if request.param == "gone":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        use_server(endpoint, monkeypatch)
        yield request.param, RemoteStore("s3://envs/gone", timeout=0.5, trust=Trust(key=team.private))
        return
    with serving({"refuses": _Refuses, "half": _Half, "silent": _Silent}[request.param]) as endpoint:
        use_server(endpoint, monkeypatch)
        url = f"s3://envs/{request.param}"
        yield request.param, RemoteStore(url, timeout=0.5, trust=Trust(key=team.private))


SAID = {
    "gone": "the store s3://envs/gone does not answer: Could not connect to the endpoint URL",
    "refuses": "access denied by the store: ",
    "half": "s3://envs/half/",
    "silent": "the store s3://envs/silent does not answer: Read timeout on endpoint URL",
}


def test_a_build_goes_on_without_it(small: Small, faulty: tuple[str, RemoteStore]) -> None:
    kind, remote = faulty
    notes = Notes()
    began = time.monotonic()
    store = dataclasses.replace(small.store("empty"), remote=remote)
    report = small.build(store=store, output=small.folder / "again", reporter=notes)
    assert report.sha256 == small.build(store=small.store("other"), output=small.folder / "other").sha256
    assert [note for note in notes.notes if SAID[kind] in note and "built here" in note]
    assert time.monotonic() - began < 40


def test_what_needs_it_says_so(small: Small, faulty: tuple[str, RemoteStore]) -> None:
    kind, remote = faulty
    report = small.build()
    said: dict[str, Callable[[], object]] = {
        "pull": lambda: pull_archive("small-0123456789ab", with_remote(remote), small.folder / "there"),
        "push": lambda: push_archive(report.archive, with_remote(remote, small.store())),
    }
    for verb, call in said.items():
        with pytest.raises(StoreError) as raised:
            call()
        if (kind, verb) != ("half", "pull"):  # which reads half of a list, and finds nothing in it
            assert SAID[kind] in raised.value.message
        assert raised.value.exit_code == 4
        for secret in CREDENTIALS.values():
            assert secret not in str(raised.value)
    assert not (small.folder / "there").exists()


def test_a_fetch_that_found_nothing_names_the_store(small: Small, tmp_path: Path) -> None:
    store = dataclasses.replace(small.store("empty"), remote=RemoteStore(f"file://{tmp_path}/elsewhere"))
    with pytest.raises(FetchError) as raised:
        build(
            small.recipe,
            small.lock,
            Session(settings=Settings(no_index=True), store=store),
            output=small.folder / "again",
        )
    name = next(
        artifact.sha256 for artifact in small.lock.artifacts if artifact.filename in raised.value.message
    )
    assert f"\n  file://{tmp_path}/elsewhere/artifacts/{name[:2]}/{name}: not found" in raised.value.message


# -- something else under a right name -------------------------------------------------------------


@pytest.fixture
def pushed(small: Small, team: Team, tmp_path: Path) -> tuple[BuildReport, Path]:
    """A build, and the folder of the remote store that has all of it."""
    report = small.build()
    sources = Settings(find_links=(str(small.wheelhouse),), no_index=True)
    folder = tmp_path / "elsewhere"
    remote = team.writes(f"file://{folder}")
    push_build(small.recipe, small.lock, report, with_remote(remote, small.store(), settings=sources))
    return report, folder


def rebuild(small: Small, remote: RemoteStore, notes: Notes, *, wheels: bool) -> BuildReport:
    store = dataclasses.replace(small.store("empty"), remote=remote)
    links = (str(small.wheelhouse),) if wheels else ()
    settings = Settings(find_links=links, no_index=True)
    return build(
        small.recipe,
        small.lock,
        Session(settings=settings, store=store, reporter=notes),
        output=small.folder / "again",
    )


DAMAGES = [
    pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
    pytest.param(lambda data: b"", id="empty"),
    pytest.param(lambda data: data[:-1] + bytes((data[-1] ^ 1,)), id="wrong"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_passed_over_or_refused(
    small: Small, team: Team, pushed: tuple[BuildReport, Path], damage: Callable[[bytes], bytes]
) -> None:
    report, folder = pushed
    alpha = next(artifact for artifact in small.lock.artifacts if artifact.name == "alpha")
    place = folder / "artifacts" / alpha.sha256[:2] / alpha.sha256
    place.write_bytes(damage(place.read_bytes()))
    with pytest.raises(IntegrityError) as raised:
        rebuild(small, team.is_trusted(f"file://{folder}"), Notes(), wheels=False)
    assert raised.value.message.startswith(f"{alpha.filename}: no source has the locked content")
    assert f"in file://{place}" in raised.value.message
    notes = Notes()
    assert rebuild(small, team.is_trusted(f"file://{folder}"), notes, wheels=True).sha256 == report.sha256
    assert [note for note in notes.notes if note.startswith(f"{alpha.filename}: passed over sha256 ")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_segment_is_made_again(
    small: Small, team: Team, pushed: tuple[BuildReport, Path], damage: Callable[[bytes], bytes]
) -> None:
    report, folder = pushed
    remote = team.is_trusted(f"file://{folder}")
    segments = [path.name for path in (folder / "segments").glob("*/*")]
    for key in segments:
        found = remote.find("segments", key)
        assert found is not None
        place = folder / "blobs" / found.sha256[:2] / found.sha256
        place.write_bytes(damage(place.read_bytes()))
    notes = Notes()
    again = rebuild(small, remote, notes, wheels=False)
    assert (again.sha256, again.segments_made) == (report.sha256, len(segments))
    assert len([note for note in notes.notes if note.endswith(": the segment is built here")]) == len(
        segments
    )


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["archives", "manifests"])
def test_a_damaged_archive_or_manifest_is_not_pulled(
    small: Small,
    team: Team,
    pushed: tuple[BuildReport, Path],
    kind: str,
    damage: Callable[[bytes], bytes],
) -> None:
    report, folder = pushed
    (place,) = (folder / kind).glob("*/*")
    place.write_bytes(damage(place.read_bytes()))
    there = small.folder / "there"
    with pytest.raises((IntegrityError, StoreError)) as raised:
        pull_archive(report.archive.name, with_remote(team.is_trusted(f"file://{folder}")), there)
    assert raised.value.message.startswith(f"file://{place}")
    assert raised.value.exit_code == (4 if "broke off" in raised.value.message else 5)
    assert not there.exists()


def test_two_pushes_of_one_archive_at_once(small: Small, team: Team, bucket: str) -> None:
    report = small.build()
    done: list[Transfer] = []

    def push() -> None:
        done.append(push_archive(report.archive, with_remote(team.writes(f"{bucket}/envs"), small.store())))

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    pulled = pull_archive(
        report.archive.name, with_remote(team.writes(f"{bucket}/envs")), small.folder / "there"
    )
    assert pulled.archive.read_bytes() == report.archive.read_bytes()
    assert manifest_beside(pulled.archive).read_bytes() == manifest_beside(report.archive).read_bytes()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/x", "the store s4://bucket/x cannot be used: Protocol not known: s4"),
        ("gs://bucket/x", "the store gs://bucket/x cannot be used: "),
    ],
)
def test_a_kind_of_store_that_nothing_here_knows(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)  # whether or not it is installed
    with pytest.raises(RecipeError) as raised:
        RemoteStore(url)
    assert raised.value.message.startswith(said)
    assert raised.value.hint == (installing("gs") if url.startswith("gs") else None)


def test_a_store_that_is_a_file(small: Small, team: Team, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("not a folder")
    report = small.build()
    with pytest.raises(StoreError) as raised:
        push_archive(report.archive, with_remote(team.writes(f"file://{tmp_path}/elsewhere"), small.store()))
    assert raised.value.message.startswith(f"file://{tmp_path}/elsewhere/archives/")
    assert "Not a directory" in raised.value.message or "File exists" in raised.value.message


def test_a_store_that_cannot_be_listed_has_no_archives(team: Team, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no archive whose sha256 begins with 0123456789ab"):
        pull_archive(
            "x-0123456789ab", with_remote(team.is_trusted(f"file://{tmp_path}/gone")), tmp_path / "there"
        )
    assert Store.open(tmp_path / "store").remote is None
