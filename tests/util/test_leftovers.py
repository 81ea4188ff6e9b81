from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENDS: dict[str, int] = {"": 0, "leftovers.finish(130)": 130, "raise ValueError": 1}


@pytest.mark.parametrize("end", ENDS)
def test_what_was_noted_is_gone_when_the_process_ends(end: str, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from envbuilder.util import leftovers

root = Path(sys.argv[1])
for name in ("draft", "kept"):
    (root / name).mkdir()
    (root / name / "file").touch()
    leftovers.note_path(root / name)
leftovers.forget_path(root / "kept")
for name in ("empty", "full"):
    (root / name).mkdir()
    leftovers.note_folder(root / name)
(root / "full" / "file").touch()
{end}
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == ENDS[end], done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "kept"]
