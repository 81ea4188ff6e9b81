from __future__ import annotations

import dataclasses
from pathlib import Path

from envbuilder.config.settings import Settings
from envbuilder.fetch.beside import with_files_beside
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from tests.helpers.notes import Notes
from tests.helpers.wheels import small_recipe


def test_the_wheelhouse_of_a_recipe_is_searched_after_what_is_configured(tmp_path: Path) -> None:
    session = Session(
        settings=Settings(find_links=("/other",), no_index=True),
        store=Store(root=tmp_path / "store"),
        reporter=Notes(),
    )
    recipe = small_recipe(tmp_path)
    assert with_files_beside(recipe, session) == session
    (tmp_path / "wheelhouse").mkdir()
    beside = with_files_beside(recipe, session)
    assert beside.settings.find_links == ("/other", str(tmp_path / "wheelhouse"))
    assert dataclasses.replace(beside, settings=session.settings) == session
