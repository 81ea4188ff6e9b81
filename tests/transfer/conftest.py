"""A small environment for stores that are somewhere else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from envbuilder.registry.reference import Reference, parse_reference
from envbuilder.store.session import Session
from tests.helpers.small import Small, copy_small


@pytest.fixture
def small(tmp_path: Path, built_small: Small) -> Small:
    """A small environment that is really built."""
    return copy_small(built_small, tmp_path)


@pytest.fixture
def session(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Session(settings=small.settings, store=small.store())


@pytest.fixture
def archive(small: Small, session: Session) -> Path:
    return small.build(store=session.store).archive


def reference(host: str, name: str, **more: str) -> Reference:
    return dataclasses.replace(parse_reference(f"oci://{host}/{name}"), **more)


def elsewhere(session: Session, tmp_path: Path) -> Session:
    return dataclasses.replace(
        session, store=dataclasses.replace(session.store, root=tmp_path / "another machine")
    )
