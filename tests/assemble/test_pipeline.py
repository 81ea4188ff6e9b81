"""Segments in the order of an archive, while artifacts are fetched and assembled in any order."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from envbuilder.archive.exclude import PackRules
from envbuilder.assemble.cross_imports import WantedError
from envbuilder.assemble.pipeline import assembled, open_pipeline
from envbuilder.assemble.shared_paths import TwoOwnersError
from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.config.settings import Settings
from envbuilder.errors import AssembleError, FetchError
from envbuilder.lockfile.model import Artifact, Lock
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.assemble.conftest import MakeAssembler
from tests.helpers.notes import Notes
from tests.helpers.small import little
from tests.helpers.wheels import small_lock, small_recipe, write_artifact, write_wheel

SITE = "lib/python3.11/site-packages"


@pytest.fixture
def session(tmp_path: Path, kept: Store, notes: Notes) -> Session:
    """The wheelhouse beside, and no index."""
    settings = Settings(find_links=(str(tmp_path / "wheels"),), no_index=True)
    return Session(settings=settings, store=kept, reporter=notes)


@pytest.fixture
def lock(tmp_path: Path, python311: Interpreter) -> Lock:
    return lock_of(tmp_path, python311, {"alpha": {"alpha.py": b"x = 1\n"}, "beta": {"beta.py": b"y = 1\n"}})


def lock_of(folder: Path, interpreter: Interpreter, wheels: Mapping[str, Mapping[str, bytes]]) -> Lock:
    made = [write_wheel(folder / "wheels", name, files=files) for name, files in wheels.items()]
    return small_lock(small_recipe(folder), made, describe(interpreter))


def put_into(store: Store, folder: Path, artifact: Artifact) -> None:
    with store.artifact_writer(artifact.sha256) as writer:
        writer.write((folder / "wheels" / artifact.filename).read_bytes())


def test_the_base_then_wheels_by_name_then_the_activation(
    make: MakeAssembler, session: Session, lock: Lock
) -> None:
    with open_pipeline(lock, make(), session) as pipeline:
        made = list(pipeline.segments())
        paths = [pipeline.artifact(artifact.sha256) for artifact in lock.artifacts]
    assert [segment.label for segment in made] == [
        "base",
        "alpha-1.0-py3-none-any.whl",
        "beta-1.0-py3-none-any.whl",
        "activation",
    ]
    assert paths == [session.store.artifact_path(artifact.sha256) for artifact in lock.artifacts]


def test_the_order_is_that_of_the_lock_whichever_arrives_first(
    make: MakeAssembler, session: Session, lock: Lock, tmp_path: Path
) -> None:
    put_into(session.store, tmp_path, lock.artifacts[1])
    with open_pipeline(lock, make(), session) as pipeline:
        made = list(pipeline.segments())
    assert [segment.artifact for segment in made] == [
        None,
        *(artifact.sha256 for artifact in lock.artifacts),
        None,
    ]


@pytest.mark.parametrize("at_hand", [(), (1,), (0, 1)])
def test_a_shared_file_goes_to_the_first_whichever_is_at_hand(
    make: MakeAssembler, session: Session, python311: Interpreter, tmp_path: Path, at_hand: tuple[int, ...]
) -> None:
    same = {"shared.py": b"x = 1\n"}
    lock = lock_of(tmp_path, python311, {"one": same, "two": same})
    for number in at_hand:
        put_into(session.store, tmp_path, lock.artifacts[number])
    with open_pipeline(lock, make(), session) as pipeline:
        _, one, two, _ = pipeline.segments()
    assert f"{SITE}/shared.py" in {file.path for file in one.files}
    assert f"{SITE}/shared.py" not in {file.path for file in two.files}
    assert [file.path for file in two.omitted] == [f"{SITE}/shared.py"]


def test_two_contents_of_one_path_are_refused(
    make: MakeAssembler, session: Session, python311: Interpreter, tmp_path: Path
) -> None:
    lock = lock_of(tmp_path, python311, {"one": {"a.py": b"1\n"}, "two": {"a.py": b"2\n"}})
    with open_pipeline(lock, make(), session) as pipeline, pytest.raises(TwoOwnersError) as caught:
        list(pipeline.segments())
    assert caught.value.path == f"{SITE}/a.py"
    assert caught.value.hint == (
        "keep one of the two: remove one or two from `dependencies`; if other packages require it, "
        "`exclude-dependencies: [one]` locks without it"
    )


def test_what_cannot_be_fetched_is_raised_where_it_is_awaited(
    make: MakeAssembler, session: Session, lock: Lock, tmp_path: Path
) -> None:
    (tmp_path / "wheels" / "beta-1.0-py3-none-any.whl").unlink()
    with open_pipeline(lock, make(), session) as pipeline, pytest.raises(FetchError, match=r"^beta-1\.0-"):
        list(pipeline.segments())


def test_what_cannot_be_assembled_is_raised_where_it_is_awaited(
    make: MakeAssembler, session: Session, python311: Interpreter, tmp_path: Path
) -> None:
    bad = write_artifact(tmp_path / "wheels", "bad", "1.0", b"no zip")
    lock = small_lock(small_recipe(tmp_path), [bad], describe(python311))
    for _ in ("fetched", "at hand"):
        with open_pipeline(lock, make(), session) as pipeline:
            segments = pipeline.segments()
            assert next(segments).label == "base"
            with pytest.raises(AssembleError, match=r"bad-1\.0-py3-none-any\.whl is not a valid zip"):
                next(segments)


def test_nothing_runs_on_when_it_is_left_early(make: MakeAssembler, session: Session, lock: Lock) -> None:
    before = set(threading.enumerate())
    assembler = make()
    with pytest.raises(KeyboardInterrupt), open_pipeline(lock, assembler, session):
        raise KeyboardInterrupt
    left = [thread for thread in set(threading.enumerate()) - before if thread.name == "fetch"]
    assert left == []


# -- what one wheel imports of what was excluded from another --------------------------------------


@pytest.fixture
def importing(tmp_path: Path, python311: Interpreter) -> Lock:
    tests = {f"beta/tests/{name}.py": b"" for name in ("__init__", "helper", "other")}
    files = {"alpha": {"alpha.py": b"import beta.tests.helper\n"}, "beta": {"beta/__init__.py": b"", **tests}}
    return lock_of(tmp_path, python311, files)


@pytest.fixture
def rules(python311: Interpreter) -> PackRules:
    return PackRules(exclude=(*(little(python311).exclude or ()), "lib/python3.*/site-packages/**/tests/**"))


KEPT = [f"{SITE}/beta/tests/{name}.py" for name in ("__init__", "helper")]


def test_of_what_is_at_hand_it_is_known_at_once(
    make: MakeAssembler, session: Session, importing: Lock, rules: PackRules, tmp_path: Path
) -> None:
    for artifact in importing.artifacts:
        put_into(session.store, tmp_path, artifact)
    with open_pipeline(importing, make(rules), session) as pipeline:
        _, _, beta, _ = pipeline.segments()
    assert [kept.path for kept in beta.kept] == KEPT


def test_of_what_arrived_late_it_is_said_so_that_it_is_begun_again(
    make: MakeAssembler, session: Session, importing: Lock, rules: PackRules, tmp_path: Path
) -> None:
    put_into(session.store, tmp_path, importing.artifacts[1])
    with open_pipeline(importing, make(rules), session) as pipeline, pytest.raises(WantedError) as caught:
        list(pipeline.segments())
    assert list(caught.value.wanted.wheels) == ["beta"]
    with open_pipeline(importing, make(rules), session, caught.value.wanted) as pipeline:
        _, _, beta, _ = pipeline.segments()
    assert [kept.path for kept in beta.kept] == KEPT


def test_all_segments_with_their_artifacts(
    make: MakeAssembler, session: Session, importing: Lock, rules: PackRules
) -> None:
    found = assembled(importing, make(rules), session)
    store = session.store
    assert [path for _, path in found] == [
        None,
        *(store.artifact_path(artifact.sha256) for artifact in importing.artifacts),
        None,
    ]
    assert [kept.path for segment, _ in found for kept in segment.kept] == KEPT
