"""Recognize common names of licences that are not SPDX identifiers, and licence texts by their phrases.

Nothing is guessed: an unknown licence keeps the package's own text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

_NAMES: Final = {
    "MIT": ("mit", "mit license", "the mit license", "the mit license mit", "expat", "mit licence"),
    "Apache-2.0": (
        "apache 2",
        "apache 2 0",
        "apache2",
        "apache2 0",
        "apache license 2 0",
        "apache license version 2 0",
        "apache license v2 0",
        "apache software license 2 0",
        "apache software license version 2 0",
        "asl 2 0",
    ),
    "BSD-3-Clause": (
        "bsd 3 clause",
        "3 clause bsd",
        "bsd 3 clause license",
        "3 clause bsd license",
        "new bsd",
        "new bsd license",
        "modified bsd",
        "modified bsd license",
        "bsd new",
    ),
    "BSD-2-Clause": (
        "bsd 2 clause",
        "2 clause bsd",
        "bsd 2 clause license",
        "2 clause bsd license",
        "simplified bsd",
        "simplified bsd license",
    ),
    "PSF-2.0": ("psf", "psfl", "psf license", "python software foundation license"),
    "MPL-2.0": ("mpl 2 0", "mpl2", "mozilla public license 2 0", "mozilla public license 2 0 mpl 2 0"),
    "ISC": ("isc", "isc license", "iscl", "isc license iscl"),
    "Unlicense": ("unlicense", "the unlicense", "the unlicense unlicense"),
    "Zlib": ("zlib", "zlib license", "zlib libpng license"),
    "BSL-1.0": ("boost software license 1 0", "boost software license 1 0 bsl 1 0"),
    "GPL-2.0-only": ("gplv2", "gpl v2", "gpl 2", "gnu general public license v2 gplv2"),
    "GPL-2.0-or-later": ("gplv2+", "gpl v2+", "gnu general public license v2 or later gplv2+"),
    "GPL-3.0-only": ("gplv3", "gpl v3", "gpl 3", "gnu general public license v3 gplv3"),
    "GPL-3.0-or-later": ("gplv3+", "gpl v3+", "gnu general public license v3 or later gplv3+"),
    "LGPL-2.1-only": ("lgpl v2 1", "lgpl 2 1", "lgplv2 1"),
    "LGPL-2.1-or-later": ("lgpl v2 1+", "lgpl 2 1+", "lgplv2 1+"),
    "LGPL-3.0-only": ("lgplv3", "lgpl v3", "gnu lesser general public license v3 lgplv3"),
    "LGPL-3.0-or-later": ("lgplv3+", "lgpl v3+", "gnu lesser general public license v3 or later lgplv3+"),
    "AGPL-3.0-only": ("agplv3", "agpl v3", "gnu affero general public license v3"),
    "AGPL-3.0-or-later": (
        "agplv3+",
        "agpl v3+",
        "gnu affero general public license v3 or later agplv3+",
    ),
}
_BY_NAME: Final = {name: expression for expression, names in _NAMES.items() for name in names}
_TEXTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    # If two match at one position, the first is used: longer conditions precede those that they contain.
    ("Python-2.0", ("created in the early 1990s by guido van rossum", "beopen")),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Apache-2.0", ("apache license version 2.0, january 2004",)),
    ("Apache-2.0", ("licensed under the apache license, version 2.0",)),
    ("MPL-2.0", ("mozilla public license version 2.0",)),
    ("AGPL-3.0-only", ("gnu affero general public license version 3",)),
    ("LGPL-3.0-only", ("gnu lesser general public license version 3",)),
    ("LGPL-2.1-only", ("gnu lesser general public license version 2.1",)),
    ("GPL-3.0-only", ("gnu general public license version 3",)),
    ("GPL-2.0-only", ("gnu general public license version 2",)),
    ("BSL-1.0", ("boost software license - version 1.0",)),
    ("BSD-4-Clause", ("redistributions of source code must retain", "all advertising materials mentioning")),
    ("BSD-3-Clause", ("redistributions of source code must retain", "neither the name")),
    ("BSD-3-Clause", ("redistributions of source code must retain", "may not be used to endorse or promote")),
    ("BSD-2-Clause", ("redistributions of source code must retain",)),
    (
        "MIT",
        ("permission is hereby granted, free of charge", "the above copyright notice and this permission"),
    ),
    ("ISC", ("permission to use, copy, modify, and/or distribute this software for any purpose",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
)
_NEAR: Final = 1500
"""Window for the phrases of one text, in characters."""

CUDA_TOOLKIT: Final = "LicenseRef-NVIDIA-CUDA-Toolkit-EULA"
PROPRIETARY: Final = "LicenseRef-NVIDIA-Proprietary"
NVIDIA_TERMS: Final = {
    CUDA_TOOLKIT: "NVIDIA CUDA Toolkit End User License Agreement",
    "LicenseRef-NVIDIA-cuDNN-SLA": "NVIDIA cuDNN Supplement to Software License Agreement for SDKs",
    "LicenseRef-NVIDIA-cuSPARSELt-SLA": "NVIDIA cuSPARSELt Supplement to Software License Agreement for SDKs",
    "LicenseRef-NVIDIA-cuTENSOR-SLA": "NVIDIA cuTENSOR Supplement to Software License Agreement for SDKs",
    "LicenseRef-NVIDIA-TensorRT-SLA": "NVIDIA TensorRT Supplement to Software License Agreement for SDKs",
    "LicenseRef-NVIDIA-SDK-SLA": "NVIDIA Software License Agreement for Software Development Kits",
    PROPRIETARY: "NVIDIA's own terms; the package does not specify them",
}
"""NVIDIA's own terms, by their names in an SPDX expression."""
_PRODUCTS: Final = ("cuDNN", "cuSPARSELt", "cuTENSOR", "TensorRT")


def expression_of_name(name: str) -> str | None:
    """Return the SPDX expression of a licence's name (``Apache 2.0``) if the name is unambiguous."""
    return _BY_NAME.get(" ".join(re.sub(r"[^a-z0-9+]+", " ", name.lower()).split()))


def expression_of_text(text: str) -> str | None:
    """Return the SPDX expression of a licence's text if it is recognized.

    The first text is the package's own. Licences of bundled code, in lines ``License: <expression>`` as in NumPy's,
    are added.
    """
    words = _words(text)
    own = nvidia_terms(text)
    if own is None:
        places = [(_place(phrases, words), expression) for expression, phrases in _TEXTS]
        found = [(place, expression) for place, expression in places if place >= 0]
        own = min(found, key=lambda one: one[0])[1] if found else None
    if own is None:
        return None
    bundled = set()
    for line in re.findall(
        r"(?m)^[ \t]*License:(.*)$", text
    ):  # no pattern that backtracks at each space of a long line
        with suppress(InvalidLicenseExpression):
            bundled.add(str(canonicalize_license_expression(line.strip())))
    return " AND ".join([own, *(f"({one})" if " OR " in one else one for one in sorted(bundled - {own}))])


def nvidia_terms(text: str) -> str | None:
    """Return the key in :data:`NVIDIA_TERMS` of a text of NVIDIA's own terms."""
    words = _words(text)
    if "end user license agreement" in words and "nvidia cuda toolkit" in words:
        return CUDA_TOOLKIT
    for product in _PRODUCTS:
        if f"{product.lower()} supplement to software license agreement" in words:
            return f"LicenseRef-NVIDIA-{product}-SLA"
    if "license agreement for nvidia software development kits" in words:
        return "LicenseRef-NVIDIA-SDK-SLA"
    if re.search(r"nvidia[a-z ]*(software|end user) license agreement|nvidia proprietary", words):
        return PROPRIETARY
    return None


def _words(text: str) -> str:
    """Return *text* in lower case, with single spaces, and without comment markers."""
    return " ".join(re.sub(r"(?m)^[^\S\n]*(#+|//+|\*+|;+)", " ", text).lower().split())


def _place(phrases: Sequence[str], words: str) -> int:
    """Return the position of *phrases* in *words*, all near the first; -1 if there is none."""
    place = words.find(phrases[0])
    near = words[place : place + _NEAR]
    return place if place >= 0 and all(phrase in near for phrase in phrases) else -1
