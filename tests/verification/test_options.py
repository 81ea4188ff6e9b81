from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuilder.recipe.load import load_recipe
from envbuilder.store.session import Session
from envbuilder.verification.options import complete_request
from envbuilder.verification.request import VerifyRequest
from envbuilder.verification.server.servers import ServerChoice
from tests.helpers.inventories import manifest_of

RECIPE = """\
triton: pytriton-0.7.0
python: "3.11"
torch: "2.13.0"
cuda: cpu
verify:
  model: ../models/m
  server: false
  compile: {dynamic: true}
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive beside a manifest that names the recipe of this folder."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "models" / "m").mkdir(parents=True)
    path = tmp_path / "recipes" / "small.yaml"
    path.write_text(RECIPE)
    manifest = manifest_of(recipe_digest=load_recipe(path).digest())
    (tmp_path / "small-0123456789ab.json").write_text(manifest.text())
    return tmp_path / "small-0123456789ab.tar.gz"


def completed(archive: Path, **asked: object) -> VerifyRequest:
    request = replace(VerifyRequest(), **asked)  # type: ignore[arg-type]  # a test's own values
    return complete_request(request, archive, Session.open(), lock=None, root=archive.parent)[0]


def test_the_recipe_says_what_was_not_asked(archive: Path) -> None:
    found = completed(archive)
    assert found.recipe is not None
    assert found.models.model == found.recipe.verify.model
    assert (found.server.ask, dict(found.compile)) == (False, {"dynamic": True})


def test_what_was_asked_counts(archive: Path, tmp_path: Path) -> None:
    found = completed(archive, model=tmp_path / "other", server=ServerChoice(ask=True))
    assert (found.models.model, found.server.ask, dict(found.compile)) == (tmp_path / "other", True, {})


def test_a_recipe_that_changed_since_says_nothing(archive: Path) -> None:
    path = archive.parent / "recipes" / "small.yaml"
    path.write_text(path.read_text().replace('"2.13.0"', '"2.12.0"'))
    found = completed(archive)
    assert (found.recipe, found.models.model) == (None, None)
