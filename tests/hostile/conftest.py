"""A warm command line for each worker, and a room for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter
from tests.helpers.environments import environment, pack
from tests.helpers.hostile import Room, Zygote, zygote
from tests.helpers.hostile_signers import Signers
from tests.helpers.origins import Origin, make_origin
from tests.helpers.remote_project import RemoteProject, make_remote_project


@pytest.fixture(scope="session")
def warm() -> Iterator[Zygote]:
    """The process that forks a command line for each run."""
    with zygote() as process:
        yield process


@pytest.fixture
def room(tmp_path: Path, warm: Zygote) -> Room:
    """A folder to run the command line in."""
    return Room(folder=tmp_path, zygote=warm)


@pytest.fixture(scope="session")
def pushed(tmp_path_factory: pytest.TempPathFactory, python311: Interpreter) -> RemoteProject:
    """A project with a remote store that is right. Not to be written to."""
    return make_remote_project(tmp_path_factory.mktemp("pushed"), python311)


@pytest.fixture
def project(pushed: RemoteProject, room: Room) -> RemoteProject:
    """A copy of it in the room."""
    return pushed.copy(room.work)


@pytest.fixture
def signers(room: Room) -> Signers:
    """An archive, and an authority that is trusted. A file is missing in it, so that ``verify`` runs nothing of it."""
    tree = environment()
    listed = tree | {"lib/missing": b"missing"}
    made = Signers(folder=room.work, archive=pack(tree, room.work, listed=listed))
    made.certify("authority", authority=True)
    return made


@pytest.fixture(scope="session")
def origin(once: Callable[[str, Callable[[Path], None]], Path], python311: Interpreter) -> Origin:
    """The archive as it was built. Not to be written to, but for its memory."""
    return Origin(folder=once("origin", lambda folder: make_origin(folder, python311)))
