"""The grammar of names and versions in locks and manifests."""

from __future__ import annotations

import re
from typing import Final

from packaging.version import VERSION_PATTERN

from envbuilder.recipe.schema import CUDA_PATTERN, NAME_PATTERN
from envbuilder.util.documents import Grammar

LARGEST_FILE: Final = 2**40
"""Largest size of a file or an environment, in bytes: a hundred times the largest CUDA environments."""
RECIPE: Final = Grammar(
    pattern=re.compile(NAME_PATTERN), expected="a recipe's name (letters, digits, - and _)"
)
CUDA: Final = Grammar(pattern=re.compile(CUDA_PATTERN), expected="cpu, pypi, or cuXYZ as in cu126")
PYTHON: Final = Grammar(
    pattern=re.compile(r"\d{1,2}\.\d{1,3}(\.\d{1,3})?", re.ASCII), expected="a Python version as in 3.12.3"
)
VERSION: Final = Grammar(
    pattern=re.compile(VERSION_PATTERN, re.VERBOSE | re.IGNORECASE), expected="a version (PEP 440)"
)
PROJECT: Final = Grammar(
    pattern=re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", re.ASCII), expected="a project name (PEP 508)"
)
TOOL: Final = Grammar(pattern=re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII), expected="a tool's name")
# What conda's own MatchSpec and file names allow (CEP 26, "Identifying Packages and Channels in the conda Ecosystem").
CONDA_NAME: Final = Grammar(
    pattern=re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII), expected="a conda package's name"
)
CONDA_VERSION: Final = Grammar(pattern=re.compile(r"[\w.!+]+", re.ASCII), expected="a conda version")
CONDA_BUILD: Final = Grammar(pattern=re.compile(r"[\w.+]+", re.ASCII), expected="a conda build string")
