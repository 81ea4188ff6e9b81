from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import pytest

from envbuilder.archive.extract import Problem
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.members import MEMBER_PROBLEMS, check_name

DIGEST = "0123456789ab" + "c" * 52


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("small-0123456789ab.tar.gz", "passed"),
        ("small-0123456789ab.tar", "passed"),
        ("small-ffffffffffff.tar.gz", "failed"),
        ("small.tar.gz", "warning"),
    ],
)
def test_a_name_tells_the_content(name: str, status: str) -> None:
    archive = SimpleNamespace(path=Path(name), contents=SimpleNamespace(sha256=DIGEST), is_foreign=False)
    assert check_name(cast(Archive, archive)).status == status
    archive.is_foreign = True  # another tool's name may have a date, or a commit
    assert check_name(cast(Archive, archive)).status == ("warning" if status == "failed" else status)


def test_every_problem_has_its_words() -> None:
    assert set(get_args(Problem)) - set(MEMBER_PROBLEMS) <= {"through-link"}
