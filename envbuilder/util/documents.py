"""Parse untrusted documents under caps, with typed access and dotted paths in errors.

A reader requests each value with its type and grammar::

    record = parse_json(data, where="records/cpu.json")
    digest = record.digest("archive")
    for package in record.records("packages"):
        name = package.text("name", grammar=NAME)

Anything else raises a :class:`DocumentError`: ``records/cpu.json: packages[3].name: expected …, found …``. Nothing
else is raised, whatever the bytes are, and nothing takes more memory than a :class:`Cap` allows.
"""

from __future__ import annotations

import difflib
import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from envbuilder.util.files import read_regular
from envbuilder.util.printable import is_plain, printable_line, shown
from envbuilder.util.strict_json import DOCUMENT as DOCUMENT  # one module for readers
from envbuilder.util.strict_json import LISTING as LISTING
from envbuilder.util.strict_json import Cap as Cap
from envbuilder.util.strict_json import DocumentError as DocumentError
from envbuilder.util.strict_json import parse_json_value as parse_json_value
from envbuilder.util.strict_toml import parse_toml_value


@dataclass(frozen=True, kw_only=True, slots=True)
class Grammar:
    """The format of a string: a pattern, matched whole, and its description in errors."""

    pattern: re.Pattern[str]
    expected: str


DIGEST: Final = Grammar(pattern=re.compile(r"[0-9a-f]{64}"), expected="64 hex digits")
LINE: Final = Grammar(pattern=re.compile(r".+", re.DOTALL), expected="a line of text")
LARGEST: Final = 2**63 - 1
"""Largest integer: what a file system can count."""
_LARGEST_NUMBER: Final = 1e300


class Record:
    """A JSON object (a mapping) in an untrusted document, with typed access to its values.

    A getter raises a :class:`DocumentError` where the key is missing or its value is another kind of thing. Test
    optional keys with ``in`` first: a key whose value is null counts as missing.
    """

    __slots__ = ("_key", "_parent", "value", "where")

    def __init__(
        self, value: Mapping[str, Any], where: str, parent: Record | None = None, key: str = ""
    ) -> None:
        self.value = value
        self.where = where
        self._parent, self._key = parent, key

    @property
    def path(self) -> str:
        """The dotted path of this object in the document; empty for the document itself."""
        return "" if self._parent is None else _joined(self._parent.path, self._key)

    def __contains__(self, key: str) -> bool:
        return self.value.get(key) is not None

    def fail(self, key: str, reason: str, *, hint: str | None = None) -> NoReturn:
        """Reject the value of *key* (empty: the object itself) for *reason*."""
        raise DocumentError(self.where, _joined(self.path, key) if key else self.path, reason, hint=hint)

    def expected(self, key: str, expected: str) -> NoReturn:
        """Reject the value of *key*, naming what was *expected*."""
        if key not in self.value:
            self.fail(key, f"is missing; expected {expected}")
        self.fail(key, f"expected {expected}, found {shown(self.value[key])}")

    def only(self, *known: str) -> None:
        """Reject keys that are not *known*."""
        for key in self.value:
            if key not in known:
                close = difflib.get_close_matches(key[:100], known, 1)
                self.fail(key, "is not known", hint=f"did you mean {close[0]!r}?" if close else None)

    # -- one value ---------------------------------------------------------------------------------

    def text(self, key: str, grammar: Grammar = LINE, *, longest: int = 4096) -> str:
        """Return a text of one line, at most *longest* characters, that *grammar* matches."""
        value = self.value.get(key)
        if isinstance(value, str) and _is_text(value, grammar, longest):
            return value
        self.expected(key, _text_expected(value, grammar, longest))

    def free_text(self, key: str, *, longest: int = 2**20) -> str:
        """Return a string unchecked: it may be empty, have several lines, or contain control characters."""
        value = self.value.get(key)
        if isinstance(value, str) and len(value) <= longest:
            return value
        self.expected(key, f"a text of at most {longest} characters" if isinstance(value, str) else "a text")

    def unicode_text(self, key: str, *, longest: int = 2**20) -> str:
        """Return a string as :meth:`free_text`, without lone surrogates: UTF-8 can write it."""
        value = self.free_text(key, longest=longest)
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(key, "has a character that UTF-8 cannot write")
        return value

    def free_texts(self, key: str, *, longest: int = 2**20) -> tuple[str, ...]:
        """Return a list of unchecked strings."""
        values = self._list(key, None)
        for number, value in enumerate(values):
            if not isinstance(value, str) or len(value) > longest:
                self.fail(f"{key}[{number}]", f"expected a text, found {shown(value)}")
        return tuple(values)

    def choice(self, key: str, *allowed: str) -> str:
        """Return one of *allowed*."""
        value = self.value.get(key)
        if isinstance(value, str) and value in allowed:
            return value
        self.expected(key, " or ".join(map(repr, allowed)))

    def digest(self, key: str) -> str:
        """Return a sha256: 64 lower-case hex digits."""
        value = self.value.get(key)
        if isinstance(value, str) and DIGEST.pattern.fullmatch(value):
            return value
        self.expected(key, DIGEST.expected)

    def integer(self, key: str, least: int = 0, most: int = LARGEST) -> int:
        """Return an integer from *least* to *most*."""
        value = self.value.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.expected(key, f"an integer from {least} to {most if most < LARGEST else '2^63 - 1'}")

    def number(self, key: str, least: float = -math.inf, most: float = math.inf) -> float:
        """Return a finite number from *least* to *most*."""
        value = self.value.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if least <= value <= most and math.isfinite(value) and abs(value) < _LARGEST_NUMBER:
                return float(value)
            least, most = max(least, -_LARGEST_NUMBER), min(most, _LARGEST_NUMBER)
            self.expected(key, f"a number from {least:g} to {most:g}")
        self.expected(key, "a number")

    def boolean(self, key: str) -> bool:
        """Return true or false."""
        value = self.value.get(key)
        if isinstance(value, bool):
            return value
        self.expected(key, "true or false")

    def file_path(self, key: str) -> str:
        """Return a relative path that stays inside: no empty part, no ``.``, no ``..``, no NUL.

        File names of other encodings than UTF-8 are as :func:`os.fsdecode` writes them.
        """
        value = self.value.get(key)
        if isinstance(value, str) and is_inside(value):
            return value
        self.expected(key, "a relative path without . and ..")

    # -- what holds others -------------------------------------------------------------------------

    def record(self, key: str) -> Record:
        """Return an object."""
        value = self.value.get(key)
        if isinstance(value, dict):
            return Record(value, self.where, self, key)
        self.expected(key, "an object")

    def records(self, key: str, *, most: int | None = None) -> list[Record]:
        """Return a list of objects, at most *most*."""
        found = []
        for number, value in enumerate(self._list(key, most)):
            if not isinstance(value, dict):
                self.fail(f"{key}[{number}]", f"expected an object, found {shown(value)}")
            found.append(Record(value, self.where, self, f"{key}[{number}]"))
        return found

    def record_map(self, key: str, grammar: Grammar = LINE) -> dict[str, Record]:
        """Return an object of objects, whose keys *grammar* matches."""
        inner = self.record(key)
        inner.check_keys(grammar)
        return {name: inner.record(name) for name in inner.value}

    def integers(self, key: str, *, most: int | None = None) -> tuple[int, ...]:
        """Return a list of integers that a file system can count, at most *most* of them."""
        values = self._list(key, most)
        for number, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST:
                self.fail(f"{key}[{number}]", f"expected an integer, found {shown(value)}")
        return tuple(values)

    def texts(self, key: str, grammar: Grammar = LINE, *, most: int | None = None) -> tuple[str, ...]:
        """Return a list of texts of one line that *grammar* matches, at most *most*."""
        values = self._list(key, most)
        for number, value in enumerate(values):
            if not isinstance(value, str) or not _is_text(value, grammar, 4096):
                expected = _text_expected(value, grammar, 4096)
                self.fail(f"{key}[{number}]", f"expected {expected}, found {shown(value)}")
        return tuple(values)

    def file_paths(self, key: str) -> tuple[str, ...]:
        """Return a list of relative paths that stay inside, as :meth:`file_path` says."""
        values = self._list(key, None)
        for number, value in enumerate(values):
            if not isinstance(value, str) or not is_inside(value):
                self.fail(
                    f"{key}[{number}]", f"expected a relative path without . and .., found {shown(value)}"
                )
        return tuple(values)

    def text_map(self, key: str, grammar: Grammar = LINE, *, keys: Grammar = LINE) -> dict[str, str]:
        """Return an object whose values are texts of one line that *grammar* matches, and its keys *keys*."""
        inner = self.record(key)
        inner.check_keys(keys)
        return {name: inner.text(name, grammar) for name in inner.value}

    def check_keys(self, grammar: Grammar) -> None:
        """Reject a key of this object that *grammar* does not match."""
        for name in self.value:
            if not _is_text(name, grammar, 4096):
                expected = _text_expected(name, grammar, 4096)
                self.fail("", f"expected {expected} as a key, found {shown(name)}")

    def _list(self, key: str, most: int | None) -> list[Any]:
        value = self.value.get(key)
        if not isinstance(value, list):
            self.expected(key, "a list")
        if most is not None and len(value) > most:
            self.fail(key, f"expected at most {most} items, found {len(value)}")
        return value


def parse_json(data: bytes | str, *, where: str, cap: Cap = DOCUMENT, allow_nan: bool = False) -> Record:
    """Parse a JSON object as strictly as :func:`parse_json_value`; *where* names the document in errors.

    Raises:
        DocumentError: it is invalid.
    """
    value = parse_json_value(data, where=where, cap=cap, allow_nan=allow_nan)
    if not isinstance(value, dict):
        raise DocumentError(where, "", f"expected an object, found {shown(value)}")
    return Record(value, where)


def load_json(
    path: Path, *, where: str | None = None, cap: Cap = DOCUMENT, allow_nan: bool = False
) -> Record:
    """Read a JSON object from a file; *where* names it, else its path does.

    Raises:
        DocumentError: it is invalid.
        OSError: it cannot be read; :class:`~envbuilder.util.files.NotRegularError` if it is not a file.
    """
    name = str(path) if where is None else where
    data = read_regular(path, most=cap.size + 1)
    return parse_json(data, where=name, cap=cap, allow_nan=allow_nan)


def parse_toml(data: bytes, *, where: str, cap: Cap = DOCUMENT) -> Record:
    """Read TOML; *where* names the document in errors.

    Raises:
        DocumentError: it is invalid, or more than *cap* allows.
    """
    return Record(parse_toml_value(data, where=where, cap=cap), where)


def record_of(value: object, *, where: str) -> Record:
    """Give typed access to a *value* that another parser read: TOML's, YAML's.

    Raises:
        DocumentError: it is not a mapping.
    """
    if not isinstance(value, dict):
        raise DocumentError(where, "", f"expected a table, found {shown(value)}")
    return Record(value, where)


def is_inside(path: str) -> bool:
    """Whether *path* is relative, normalized, and stays inside."""
    if not path or "\0" in path or len(path) > 4096 or path.startswith("/"):
        return False
    return posixpath.normpath(path) == path and path not in (".", "..") and not path.startswith("../")


def _joined(path: str, key: str) -> str:
    key = key if is_plain(key) and len(key) <= 200 else printable_line(key[:200])
    return f"{path}.{key}" if path else key


def _is_text(value: str, grammar: Grammar, longest: int) -> bool:
    return len(value) <= longest and is_plain(value) and grammar.pattern.fullmatch(value) is not None


def _text_expected(value: object, grammar: Grammar, longest: int) -> str:
    if isinstance(value, str) and len(value) > longest:
        return f"at most {longest} characters"
    if grammar is LINE and isinstance(value, str) and value:
        return "a line of text without control characters"
    return grammar.expected
