"""Untrusted TOML, parsed under caps: :mod:`tomllib` keeps about a kilobyte for each table and each part of a key."""

from __future__ import annotations

import re
import sys
from typing import Any, Final

from envbuilder.util.strict_json import DOCUMENT, Cap, DocumentError, too_large

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLES: Final = 500_000
"""Tables, lists and dots of keys: a lock of a thousand projects for all platforms has 60,000."""
PARTS: Final = 32
"""Most parts of a dotted key: the parser copies all previous ones for each. pyproject.toml files have up to eight."""
_LONG_NUMBER: Final = re.compile(rb"[0-9_]{101}")
_OPENING: Final = re.compile(rb'"""|\'\'\'|"|\'|#')
_CLOSING: Final = {
    b'"""': re.compile(rb'\\.|("{3,5})', re.DOTALL),
    b"'''": re.compile(rb"('{3,5})"),
    b'"': re.compile(rb'\\.|(")|\n', re.DOTALL),
    b"'": re.compile(rb"(')|\n"),
    b"#": re.compile(rb"()(?=\n)"),
}
_WITHIN_A_KEY: Final = bytes(byte for byte in range(128) if chr(byte).isalnum() or chr(byte) in "_- \t")


def parse_toml_value(data: bytes, *, where: str, cap: Cap = DOCUMENT) -> dict[str, Any]:
    """Read TOML; *where* names the document in errors.

    Raises:
        DocumentError: it is invalid, or more than *cap* allows.
    """
    if len(data) > cap.size:
        raise too_large(where, cap)
    if _LONG_NUMBER.search(data):
        raise DocumentError(where, "", "has an integer of more than a hundred digits")
    _check_structure(data, where, cap)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DocumentError(where, "", f"is not UTF-8: {error.reason} at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(where, "", f"is not TOML: {error}") from error
    except RecursionError as error:  # tomllib is written in Python: it ends well
        raise DocumentError(where, "", "is nested too deep") from error


def _check_structure(data: bytes, where: str, cap: Cap) -> None:
    """Reject a document with more tables, values or parts of a key than the caps allow, before parsing it."""
    structure = _without_texts(data)
    if structure.count(b",") + structure.count(b"=") > cap.values:
        raise DocumentError(where, "", f"has more than {cap.values:,} values")
    most = min(cap.containers, TABLES)
    if sum(map(structure.count, (b"[", b"{", b"."))) > most:
        raise DocumentError(where, "", f"has more than {most:,} tables, lists and dots of keys")
    if b"." * PARTS in structure.translate(None, _WITHIN_A_KEY):
        raise DocumentError(where, "", f"has a key of more than {PARTS} parts")


def _without_texts(data: bytes) -> bytes:
    """Return *data* without what is quoted and without comments, as far as those are TOML: no parser gets further."""
    kept = []
    position = 0
    while (opening := _OPENING.search(data, position)) is not None:
        kept.append(data[position : opening.start()])
        closing = next(
            (end for end in _CLOSING[opening[0]].finditer(data, opening.end()) if end[1] is not None), None
        )
        if closing is None or b"\n" in closing[0]:
            return b"".join(kept)
        position = closing.end()
    return b"".join([*kept, data[position:]])
