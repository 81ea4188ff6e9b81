from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.base.interpreter import Interpreter, describe
from envbuilder.building.build import build
from envbuilder.building.rebuild import artifacts_only
from envbuilder.config.settings import Settings
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256
from tests.conftest import numpy_lock


@pytest.mark.slow
def test_a_real_archive_again_with_one_thread_and_nothing_kept(
    numpy_archive: Path, settings: Settings, store: Store, python311: Interpreter, tmp_path: Path
) -> None:
    recipe, lock = numpy_lock(numpy_archive.parent.parent, describe(python311))
    again = build(
        recipe,
        lock,
        Session(settings=settings, store=artifacts_only(store, tmp_path / "store")),
        output=tmp_path / "again",
        threads=1,
    )
    assert again.segments_made == again.segments_total
    assert file_sha256(again.archive) == again.sha256 == file_sha256(numpy_archive)
