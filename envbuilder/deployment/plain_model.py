"""Whether a Python file defines a ``TritonPythonModel``, as far as its text tells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from envbuilder.util.files import read_regular

_DEFINES: Final = re.compile(r"(?:class|from\s.*\simport)\s.*\bTritonPythonModel\b")
MOST_CODE: Final = 16 * 2**20
"""Bytes of a model's code that are looked at."""
_LONGEST_LINE: Final = 1000
"""Characters of a line of it: the pattern above takes the square of them."""


def defines_model(path: Path) -> bool:
    """Say whether the file *path* defines, or imports, a ``TritonPythonModel``."""
    try:
        text = read_regular(path, most=MOST_CODE).decode("utf-8", "replace")
    except OSError:
        return False
    return any(
        _DEFINES.match(line[:_LONGEST_LINE]) for line in text.splitlines() if "TritonPythonModel" in line
    )
