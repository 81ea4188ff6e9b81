from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.config.settings import Settings
from envbuilder.errors import ResolveError
from envbuilder.resolve.wheel_size import size_of


def test_a_file_of_this_machine(tmp_path: Path) -> None:
    path = tmp_path / "a b.whl"
    path.write_bytes(b"123")
    assert size_of(str(path).replace(" ", "%20"), Settings()) == 3
    assert size_of(path.as_uri(), Settings()) == 3


def test_a_server_that_is_away_is_named_without_credentials() -> None:
    with pytest.raises(ResolveError, match="its size cannot be determined") as caught:
        size_of("http://me:secret@127.0.0.1:9/a.whl", Settings(timeout=1))
    assert "secret" not in caught.value.message
