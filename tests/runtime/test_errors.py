"""Errors of a user's code, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.runtime import load_runtime


@pytest.fixture
def errors(pb: Any) -> Any:
    return load_runtime().runtime_module("errors")


def raised(folder: Path, source: str) -> Exception:
    path = folder / "model.py"
    path.write_text(source)
    try:
        exec(compile(source, str(path), "exec"), {})
    except Exception as error:
        return error
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("x = 1\nraise KeyError('a')", "KeyError: 'a' (model.py, line 2)"),
        ("raise ValueError", "ValueError (model.py, line 1)"),
        ("raise RuntimeError('first\\nsecond\\nx.cpp: error: no such type')",
         "RuntimeError: first: x.cpp: error: no such type (model.py, line 1)"),
        ("def f(x):\n    return x[3]\n\nf([])", "IndexError: list index out of range (model.py, line 2)"),
    ],
)  # fmt: skip
def test_what_was_raised_and_where(errors: Any, tmp_path: Path, source: str, text: str) -> None:
    error = raised(tmp_path, source)
    assert errors.describe(error, str(tmp_path)) == text
    assert errors.describe(error, "/elsewhere") == text.partition(" (model.py")[0]


def test_what_was_written_for_people_stays_as_it_is(errors: Any, tmp_path: Path) -> None:
    for kind in (errors.ModelError, errors.NotExportableError):
        assert errors.in_words(kind("say it so"), str(tmp_path)) == "say it so"
    assert errors.in_words(TypeError("x"), str(tmp_path)) == "TypeError: x"
