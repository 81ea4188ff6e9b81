"""Recognize PyTorch's own package indexes, one for each build of torch, by their addresses."""

from __future__ import annotations

import re
from typing import Final

ELSEWHERE: Final = "set package sources in envbuilder.toml, not in a recipe"
_HOST: Final = r"https?://download(?:-r2)?\.pytorch\.org/whl/"
_PYTORCH: Final = re.compile(
    _HOST + r"(?:[\w.]+/)*(cpu|cu\d{2,3}|rocm[\d.]+|xpu)/?(?:torch_stable\.html|torch/?)?"
)
_NIGHTLY: Final = re.compile(_HOST + r"(?:nightly|test)(?:/.*)?")


def variant_of(url: str) -> str | None:
    """Return the variant (``cu126``) of PyTorch's index at *url*; None: it is not one.

    Some variants (``rocm6.3``, ``xpu``) run on no Triton server, which the caller reports.
    """
    match = _PYTORCH.fullmatch(url.strip())
    return None if match is None else match[1]


def is_nightly(url: str) -> bool:
    """Return whether *url* is PyTorch's index of nightly or test builds, which are deleted later."""
    return _NIGHTLY.fullmatch(url.strip()) is not None
