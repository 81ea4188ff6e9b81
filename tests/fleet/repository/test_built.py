from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder import api
from envbuilder.fleet.plan import Job
from envbuilder.fleet.repository.apply import ApplyOptions
from envbuilder.fleet.repository.built import find_built, find_of_lock
from envbuilder.lockfile.check import check_lock
from envbuilder.recipe.model import PackOptions
from envbuilder.store.local import CACHE_VARIABLE
from envbuilder.store.session import Session
from tests.fleet.repository.conftest import call
from tests.helpers.repositories import make_repository
from tests.helpers.workspace import Workspace


def test_an_archive_that_was_brought_is_as_good_as_one_that_was_built(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = api.load_recipe(workspace.recipe)
    session = Session.open(workspace.folder)
    job = Job(recipe=recipe, lock=check_lock(recipe), settings=session.settings)
    output = Path("envs")
    assert find_built(job, session, output) is None
    api.build_many([recipe])
    archive = find_built(job, session, output)
    assert archive is not None
    repository = workspace.folder / "repository"
    make_repository(repository, (1, 0, 0, 0, 0, 0))
    api.apply(repository, ApplyOptions(verify=False))

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "another machine"))
    elsewhere = Session.open(workspace.folder)
    assert find_built(job, elsewhere, output) == archive
    assert call("apply", repository, "--plan").exit_code == 0
    # Packed in another way, it is of this lock, but not what a build would give.
    other = replace(job, recipe=replace(recipe, pack=PackOptions(level=9)))
    assert find_built(other, elsewhere, output) is None
    assert find_of_lock(other, elsewhere, output) == archive
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1])
    for where in (session, elsewhere):  # neither takes a torn one
        assert find_of_lock(job, where, output) is None
    archive.write_bytes(whole)
    archive.with_name(f"{archive.name.removesuffix('.tar.gz')}.json").write_text("{")
    assert find_of_lock(job, elsewhere, output) is None
