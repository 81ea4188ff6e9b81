from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import IntegrityError
from envbuilder.foreign.folder import pack_folder
from envbuilder.foreign.survey import is_environment, survey


def test_a_folder_is_read_as_the_tar_that_it_would_be(prefix: Path, tmp_path: Path) -> None:
    tar = pack_folder(prefix, tmp_path)
    found, again = survey(prefix), survey(tar)
    assert found.members == again.members
    assert found.sha256 == again.sha256
    assert tar.name == f"env-{found.sha256[:12]}.tar"


def test_a_folder_that_is_no_environment(tmp_path: Path) -> None:
    assert not is_environment(tmp_path)
    with pytest.raises(IntegrityError, match="is not an environment"):
        pack_folder(tmp_path, tmp_path)
