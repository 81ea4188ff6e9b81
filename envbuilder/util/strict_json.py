"""Parse untrusted JSON under limits: stricter than :mod:`json`, in bounded memory and stack."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from envbuilder.errors import IntegrityError
from envbuilder.util.printable import shown
from envbuilder.util.text import human


@dataclass(frozen=True, kw_only=True, slots=True)
class Cap:
    """Size limits of one kind of document; each limit's reason is at its definition."""

    size: int
    """Largest document, in bytes."""
    containers: int = 2_000_000
    """Objects and lists: Python takes 64 bytes and more for ``[]``, of which a document needs two."""
    values: int = 4_000_000
    """Items of all objects and lists, by the commas between them: a text of two characters takes 59 bytes."""
    depth: int = 64
    """Objects and lists inside each other: the deepest real document, a lock's provenance, has nine."""


DOCUMENT: Final = Cap(size=16 * 2**20, containers=200_000, values=1_000_000)
"""Records, aliases, statements, answers of servers: some kilobytes; a statement of a thousand artifacts 300 kB."""
LISTING: Final = Cap(size=64 * 2**20)
"""Documents with a row for each file: a manifest or conda's paths.json; 60,000 files are 12 MB."""


class DocumentError(IntegrityError):
    """An invalid document: which document, where in it, and what is wrong."""

    def __init__(self, where: str, path: str, reason: str, *, hint: str | None = None) -> None:
        self.where = where
        self.path = path
        """Dotted, ``packages[3].sha256``; empty: the document itself."""
        self.reason = reason
        super().__init__(f"{where}: {path}: {reason}" if path else f"{where}: {reason}", hint=hint)


def parse_json_value(data: bytes | str, *, where: str, cap: Cap = DOCUMENT, allow_nan: bool = False) -> Any:
    """Parse any JSON value; *where* names the document in errors.

    Stricter than :func:`json.loads`: UTF-8 without a BOM, no duplicate keys, no NaN and no Infinity, no number that is
    not finite or has more than a hundred digits, and not more of anything than *cap* says. *allow_nan*: Python wrote
    it, whose :mod:`json` has them.

    Raises:
        DocumentError: it is invalid.
    """
    if len(data) > cap.size:
        raise too_large(where, cap)
    try:
        raw = data.encode("utf-8") if isinstance(data, str) else data
        _check_structure(raw, where, cap)
        # The hooks only count and compare; they raise ValueError.
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=float if allow_nan else _no_constant,
            parse_float=float if allow_nan else _finite,
            parse_int=_short,
        )
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise DocumentError(where, "", f"is not UTF-8: {error.reason} at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise DocumentError(
            where, "", f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except ValueError as error:
        raise DocumentError(where, "", str(error)) from error


def too_large(where: str, cap: Cap) -> DocumentError:
    """Return the error for a document that is larger than its *cap*."""
    return DocumentError(where, "", f"is larger than {human(cap.size)}, the limit for this kind of document")


_ONE_KIND: Final = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE: Final = bytes(byte for byte in range(256) if byte not in b'[]{}"')


def _check_structure(data: bytes, where: str, cap: Cap) -> None:
    """Reject a document that exceeds *cap* in depth, objects or lists, before parsing it.

    Of the text only quotes and brackets are left, then what is between quotes is dropped, then pairs from the inside
    out. What is no JSON may be counted wrong after its first mistake, which the parser does not get beyond.
    """
    structure = data
    if b"\\" in data:
        structure = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    structure = b"".join(structure.translate(_ONE_KIND, _NOT_STRUCTURE).split(b'"')[::2])
    if structure.count(b"[") > cap.containers:
        raise DocumentError(where, "", f"has more than {cap.containers:,} objects and lists")
    if data.count(b",") > cap.values:
        raise DocumentError(where, "", f"has more than {cap.values:,} values")
    for _ in range(cap.depth):
        if not structure:
            return
        structure = structure.replace(b"[]", b"")
    unclosed = len(structure) - len(structure.lstrip(b"["))
    if unclosed > cap.depth or b"[]" in structure:
        raise DocumentError(where, "", f"is nested more than {cap.depth} levels deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"has the key {shown(key)} more than once in one object")
            seen.add(key)
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"has {text}, which is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"has the number {shown(text)}, which is too large")
    return value


def _short(text: str) -> int:
    if len(text) > 100:
        raise ValueError(f"has an integer of {len(text)} digits")
    return int(text)
