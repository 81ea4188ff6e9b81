"""Determine whether a Python file defines a ``TritonPythonModel``, from its text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from envbuilder.util.files import read_regular

_DEFINES: Final = re.compile(r"(?:class|from\s.*\simport)\s.*\bTritonPythonModel\b")
MOST_CODE: Final = 16 * 2**20
"""How much of a model's code is searched, in bytes."""
_LONGEST_LINE: Final = 1000
"""Longest line that is searched, in characters: the pattern above takes quadratic time."""


def defines_model(path: Path) -> bool:
    """Whether the file *path* defines or imports a ``TritonPythonModel``."""
    try:
        text = read_regular(path, most=MOST_CODE).decode("utf-8", "replace")
    except OSError:
        return False
    return any(
        _DEFINES.match(line[:_LONGEST_LINE]) for line in text.splitlines() if "TritonPythonModel" in line
    )
