"""The syntax of the texts in a manifest: those shared with locks, and its own."""

from __future__ import annotations

import re
from typing import Final

from envbuilder.recipe.grammar import CONDA_BUILD as CONDA_BUILD
from envbuilder.recipe.grammar import CONDA_NAME as CONDA_NAME
from envbuilder.recipe.grammar import CONDA_VERSION as CONDA_VERSION
from envbuilder.recipe.grammar import CUDA as CUDA
from envbuilder.recipe.grammar import LARGEST_FILE as LARGEST
from envbuilder.recipe.grammar import PROJECT as PROJECT
from envbuilder.recipe.grammar import PYTHON as PYTHON
from envbuilder.recipe.grammar import RECIPE as RECIPE
from envbuilder.recipe.grammar import TOOL as TOOL
from envbuilder.recipe.grammar import VERSION as VERSION
from envbuilder.recipe.schema import SONAME_PATTERN
from envbuilder.util.documents import Grammar

__all__ = ["LARGEST"]

FILE: Final = Grammar(
    pattern=re.compile(r"\w[\w.!+-]*\.(whl|conda|tar\.bz2)", re.ASCII),
    expected="the file name of a wheel or of a conda package",
)
LIBRARY: Final = Grammar(pattern=re.compile(r"\d{1,4}(\.\d{1,4}){1,3}"), expected="a version as in 2.28")
SONAME: Final = Grammar(pattern=re.compile(SONAME_PATTERN, re.ASCII), expected="a soname as in libGL.so.1")
MODULE: Final = Grammar(pattern=re.compile(r"\w+(\.\w+)*"), expected="a module's dotted name")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
