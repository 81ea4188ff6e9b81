"""Whether `build` left out what could not be imported or opened, and what keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.archive.exclude import DEFAULT_EXCLUDE
from envbuilder.verification.live.left_out import pattern_that_left_out
from tests.helpers.packages import distribution, opened
from tests.helpers.probes import GOOD, judged

TESTS = "lib/python3.*/site-packages/**/tests/**"
TKINTER = "lib/python3.*/tkinter/**"
CASES: dict[str, tuple[dict[str, str], str | None]] = {
    "a module": ({"missing": "a.tests"}, TESTS),
    "a module of it": ({"missing": "a.tests.helper"}, TESTS),
    "from its package": (
        {"text": "ImportError: cannot import name 'tests' from 'a' (/tmp/python_env_x/0/a.py)"},
        TESTS,
    ),
    "the standard library's": ({"missing": "tkinter"}, TKINTER),
    "a file": ({"file": f"/tmp/python_env_x/0/{TESTS.split('*')[0]}11/site-packages/a/tests/x.csv"}, TESTS),
    "a file of the machine": ({"file": "/etc/tests/x.csv"}, None),
    "nowhere": ({"missing": "b"}, None),
    "nothing is said": ({}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_which_pattern_it_was(case: str, tmp_path: Path) -> None:
    archive, _ = opened(distribution("a", {"a/__init__.py": ""}), tmp_path, exclude=DEFAULT_EXCLUDE)
    said, pattern = CASES[case]
    assert pattern_that_left_out(archive, **said) == pattern


def test_what_is_there_was_not_left_out(tmp_path: Path) -> None:
    files = {"a/__init__.py": "", "a/tests/__init__.py": ""}
    archive, _ = opened(distribution("a", files), tmp_path, exclude=DEFAULT_EXCLUDE)
    assert pattern_that_left_out(archive, missing="a.tests") is None


@pytest.mark.parametrize(("own", "stage"), [(True, "runtime"), (True, "answer"), (False, "eager")])
def test_a_model_that_imports_what_was_left_out(own: bool, stage: str) -> None:
    text = "ModuleNotFoundError: No module named 'tkinter'"
    answer = {key: value for key, value in GOOD.items() if key != "CPU"}
    failed = {"stage": stage, "text": text, "trace": "…", "missing": "tkinter"}
    checks = judged({**answer, "failed": failed}, own=own, left_out=TKINTER)
    (check,) = [check for check in checks if check.status != "passed"]
    assert (check.id, check.status) == ("probe.model", "failed")
    assert check.found == f"`build` left out what the model imports (windows and teaching): {text}"
    assert check.fix is not None
    assert check.fix.startswith("`pack: {exclude: []}` in the recipe keeps everything")
