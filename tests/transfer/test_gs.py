"""A store in Google Cloud Storage, of which an emulator answers on the loopback.

It knows no preconditions: what two do at once is tried with S3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from gcp_storage_emulator.server import create_server

from envbuilder.building.build import build
from envbuilder.config.settings import Settings
from envbuilder.store.local import Store
from envbuilder.store.remote import RemoteStore
from envbuilder.store.session import Session
from envbuilder.transfer.aliases import move_alias, read_alias
from envbuilder.transfer.push_pull import pull_archive, push_build
from envbuilder.util.files import file_sha256
from tests.helpers.sessions import with_remote
from tests.helpers.small import Small
from tests.helpers.trust import Team, reopened


@pytest.fixture
def remote(team: Team, monkeypatch: pytest.MonkeyPatch) -> Iterator[RemoteStore]:
    """An empty store in a bucket."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        port = server._api._httpd.server_address[1]  # noqa: SLF001  # the emulator has no other way to say it
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        yield team.writes("gs://bucket/store")
    finally:
        server.stop()


def test_the_whole_way(small: Small, remote: RemoteStore) -> None:
    """Pushed, pulled, built from by a machine with an empty disk, and named by an alias."""
    report = small.build()
    sources = Settings(find_links=(str(small.wheelhouse),), no_index=True)
    sent = push_build(small.recipe, small.lock, report, with_remote(remote, small.store(), settings=sources))
    assert {"segment base", "archive", "manifest"} <= set(sent.sent)
    pulled = pull_archive(report.archive.name, with_remote(reopened(remote)), small.folder / "there")
    assert file_sha256(pulled.archive) == report.sha256

    store = dataclasses.replace(Store.open(small.folder / "empty"), remote=reopened(remote))
    again = build(
        small.recipe,
        small.lock,
        Session(settings=Settings(no_index=True), store=store),
        output=small.folder / "again",
    )
    assert (again.sha256, again.segments_made) == (report.sha256, 0)
    seen = read_alias("small:stable", remote)
    assert seen.sha256 is None
    move_alias(seen, report.sha256, small.store(), remote)
    assert read_alias("small:stable", reopened(remote)).sha256 == report.sha256
