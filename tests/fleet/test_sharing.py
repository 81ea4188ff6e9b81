"""The key of one run on a cluster, and the key that lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.fleet.sharing import Sharing
from envbuilder.signing.dsse import parse_envelope
from envbuilder.signing.keys import public_pem
from envbuilder.store.local import CACHE_VARIABLE
from envbuilder.store.remote import RemoteStore
from envbuilder.store.trust import KEY_VARIABLE, open_trust
from tests.helpers.notes import Notes
from tests.helpers.trust import Team

NAME = "ab" * 32


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return Settings(store=f"file://{tmp_path}/remote")


@pytest.fixture
def lasting(team: Team, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Team:
    """Who asks has a key that lasts."""
    monkeypatch.setenv(KEY_VARIABLE, str(team.private))
    return team


def worker_signs(sharing: Sharing, settings: Settings, folder: Path) -> Path:
    """Put an object into the remote store as a worker of the run does; return its file."""
    assert settings.store is not None
    trust = open_trust(sharing.for_workers(settings).store_trust, key=sharing.key, environ={})
    worker = RemoteStore(settings.store, trust=trust)
    folder.mkdir(exist_ok=True)
    assert worker.create_signed("builds", NAME, b"a record", folder)
    return Path(worker.place("builds", NAME).removeprefix("file://"))


def signers(path: Path) -> list[str]:
    return [one.keyid for one in parse_envelope(path.read_bytes()).signatures]


def test_the_key_that_lasts_takes_the_place_of_the_runs(
    lasting: Team, settings: Settings, tmp_path: Path
) -> None:
    notes = Notes()
    with Sharing(notes) as sharing:
        assert sharing.trusts_anyone(settings)
        assert sharing.remote(settings) is sharing.remote(settings)
        path = worker_signs(sharing, settings, tmp_path / "draft")
        (before,) = signers(path)
        assert before != lasting.keyid
        found = sharing.remote(settings).find("builds", NAME)
        assert found is not None, "who asks believes the run's key"
        sharing.countersign(settings, [("builds", NAME)])
    assert signers(path) == [lasting.keyid]
    assert notes.notes == []


def test_workers_trust_the_key_of_who_asks(lasting: Team, settings: Settings) -> None:
    with Sharing(Notes()) as sharing:
        (own,) = sharing.for_workers(settings).store_trust
    assert own.pem == public_pem(lasting.signer)


def test_without_a_key_that_lasts_it_is_said_once_and_nothing_is_signed_again(
    settings: Settings, tmp_path: Path
) -> None:
    notes = Notes()
    with Sharing(notes) as sharing:
        assert not sharing.trusts_anyone(settings)
        assert sharing.for_workers(settings) == settings
        path = worker_signs(sharing, settings, tmp_path / "draft")
        before = path.read_bytes()
        sharing.countersign(settings, [("builds", NAME)])
    assert path.read_bytes() == before
    (note,) = notes.notes
    assert note.startswith(
        f"{sharing.remote(settings).url}: what this run makes there is signed by a key that ends"
    )
    assert KEY_VARIABLE in note


def test_a_store_that_trusts_others_may_hold_what_counts(team: Team, settings: Settings) -> None:
    trusting = Settings(store=settings.store, store_trust=(team.store_key,))
    with Sharing(Notes()) as sharing:
        assert sharing.trusts_anyone(trusting)


def test_what_could_not_be_signed_again_is_told_at_the_end(
    lasting: Team, settings: Settings, tmp_path: Path
) -> None:
    notes = Notes()
    with Sharing(notes) as sharing:
        path = worker_signs(sharing, settings, tmp_path / "draft")
        path.write_bytes(b"no envelope")
        sharing.countersign(settings, [("builds", NAME)])
    (note,) = notes.notes
    assert note.startswith("1 object did not get the signature of the key that lasts: ")


def test_each_run_has_a_key_of_its_own() -> None:
    with Sharing(Notes()) as one, Sharing(Notes()) as other:
        assert one.key != other.key
        assert "PRIVATE KEY" in one.key
