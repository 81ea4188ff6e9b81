"""Models that are completed or compiled on their way into a repository, and what is compiled there already."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.aot.deploy import compile_deployed, deploy_prepared, look_at_compiled
from envbuilder.aot.precompile import look
from envbuilder.deployment.config import read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.errors import DeployError
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.aot.conftest import write_package
from tests.deployment.conftest import CONFIG


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(store=Store.open(tmp_path / "store"))


@pytest.fixture
def made_of(archive: Path, model: Path, tmp_path: Path) -> str:
    """What compiled code of the model is made of."""
    (tmp_path / "look").mkdir()
    return look(archive, model, tmp_path / "look").pending["1"]


def test_a_model_is_completed_on_the_way_and_stays_as_it_is(
    archive: Path, model: Path, session: Session, tmp_path: Path
) -> None:
    done = deploy_prepared(
        archive, model, tmp_path / "repository", session, DeployOptions(), precompile=False, complete=True
    )
    message = read_config(done.folder).message
    assert (done.folder, message.instance_group[0].kind) == (tmp_path / "repository" / "net", 2)
    assert (model / "config.pbtxt").read_text() == CONFIG
    assert list((session.store.root / "tmp").iterdir()) == []


def test_without_either_it_is_a_deployment_as_any_other(
    archive: Path, model: Path, session: Session, tmp_path: Path
) -> None:
    done = deploy_prepared(
        archive, model, tmp_path / "repository", session, DeployOptions(), precompile=False, complete=False
    )
    assert not deploy(archive, model, tmp_path / "repository").changed
    assert done.compiled == ()


def test_what_is_compiled_there_of_the_same_is_kept(
    archive: Path, model: Path, session: Session, made_of: str, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    package = write_package(deploy(archive, model, repository).folder / "1", made_of)
    kept, pending = look_at_compiled(archive, model, repository, session)
    assert ([one.file for one in kept], pending) == ([package], False)
    # Nothing could run in this archive: it is compiled by nobody.
    done = deploy_prepared(
        archive, model, repository, session, DeployOptions(), precompile=True, complete=False
    )
    assert (done.changed, [one.kept for one in done.compiled]) == (False, [True])
    (found,) = compile_deployed(repository / "net", session, archive)
    assert (found.file, found.kept) == (package, True)
    assert package.exists()


def test_what_is_compiled_of_something_else_is_to_be_compiled_again(
    archive: Path, model: Path, session: Session, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    assert look_at_compiled(archive, model, repository, session) == ((), True)
    write_package(deploy(archive, model, repository).folder / "1", "0" * 64)
    assert look_at_compiled(archive, model, repository, session) == ((), True)


def test_a_deployed_model_names_its_environment(
    here: Path, model: Path, session: Session, tmp_path: Path
) -> None:
    with pytest.raises(DeployError):
        compile_deployed(model, session)
    (here / "bin" / "python3").write_text("#!/bin/sh\nexit 3\n")
    config = model / "config.pbtxt"
    config.write_text(
        f'{CONFIG}parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{here}" }} }}\n'
    )
    with pytest.raises(DeployError, match="net cannot be run in its environment"):
        compile_deployed(model, session)
    assert sorted(path.name for path in (model / "1").iterdir()) == ["model.py"]
    assert list((session.store.root / "tmp").iterdir()) == []
