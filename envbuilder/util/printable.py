"""Escape untrusted text for display: no control characters, nothing invisible."""

from __future__ import annotations

import json
import re
from typing import Final

_UNSAFE: Final = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # invisible, separators, bidi (CVE-2021-42574)
    "\ud800-\udfff"  # lone surrogates: no UTF-8 says them, so that printing one fails
    "\U000e0000-\U000e007f"  # tags
    "]"
)
_LINE: Final = re.compile(f"{_UNSAFE.pattern[:-1]}\t\n]")
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SHORT: Final = 60
"""Characters of a value in an error."""


def printable(text: str) -> str:
    """Return *text* with control, bidirectional and invisible characters as escapes like ``\\u001b``.

    Newlines and tabs stay: for text of several lines. The escapes are JSON's, so that JSON stays what it says.
    """
    return _UNSAFE.sub(_escaped, text)


def printable_line(text: str) -> str:
    """Return *text* as one line: as :func:`printable`, and without newlines and tabs."""
    return _LINE.sub(_escaped, text)


def is_plain(text: str) -> bool:
    """Whether *text* is one line that needs no escapes."""
    return _LINE.search(text) is None


def shown(value: object, limit: int = _SHORT) -> str:
    """Return a value of an untrusted document for an error: quoted, on one line, about *limit* characters at most."""
    if isinstance(value, str):
        cut = value[:limit]
        return f"'{printable_line(cut)}'" + ("…" if len(value) > limit else "")
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        # An int of a million digits takes minutes to write, where Python does not refuse to.
        return str(value) if value.bit_length() <= 128 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict):
        return "an object" if value else "an empty object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}" if value else "an empty list"
    return printable_line(str(value)[:limit])


def json_text(value: object) -> str:
    """Return *value* as indented JSON with sorted keys, in printable ASCII."""
    return json.dumps(value, indent=1, sort_keys=True).replace("\x7f", "\\u007f")


def valid_xml(text: str) -> str:
    """Return *text* with everything that XML 1.0 does not allow (production 2, *Char*) escaped."""
    return _NOT_XML.sub(_escaped, printable(text))


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    return {"\t": "\\t", "\n": "\\n", "\r": "\\r"}.get(character) or json.dumps(character)[1:-1].replace(
        "\x7f",
        "\\u007f",  # the one control character that JSON leaves alone
    )
