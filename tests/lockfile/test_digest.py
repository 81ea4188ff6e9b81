from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envbuilder.lockfile.digest import lock_digest
from envbuilder.lockfile.model import LockedInterpreter
from envbuilder.lockfile.pylock import write_lock
from envbuilder.util.files import file_sha256
from tests.helpers.wheels import small_lock, small_recipe


def test_it_is_that_of_the_file(tmp_path: Path) -> None:
    interpreter = LockedInterpreter(version="3.11.7", origin="host", digest="a" * 64)
    lock = small_lock(small_recipe(tmp_path), [], interpreter)
    write_lock(lock, tmp_path / "pylock.toml")
    assert lock_digest(lock) == file_sha256(tmp_path / "pylock.toml")
    assert lock_digest(replace(lock, torch="2.12.0+cpu")) != lock_digest(lock)
