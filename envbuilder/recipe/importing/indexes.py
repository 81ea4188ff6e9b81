"""PyTorch's own package indexes, one for each build of torch: what their addresses say."""

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
    """Return the variant (``cu126``) whose index on PyTorch's host *url* is; None: it is none.

    Some of them (``rocm6.3``, ``xpu``) no Triton server runs: what asks for them has to be told so.
    """
    match = _PYTORCH.fullmatch(url.strip())
    return None if match is None else match[1]


def is_nightly(url: str) -> bool:
    """Say whether *url* is an index of PyTorch's that has builds of one night, or of a candidate, and drops them."""
    return _NIGHTLY.fullmatch(url.strip()) is not None
