"""Read YAML safely, with the line of every value: no aliases, no tags, bounded size and depth."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, DocumentStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from envbuilder.errors import RecipeError
from envbuilder.util.files import read_regular
from envbuilder.util.printable import is_plain, printable_line, shown

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 16
_MAX_NODES = 10_000
_MAX_TEXT = 4000
"""Longest text or key, in characters: Python accepts 4,300 digits for a number, and patterns are matched on each."""
_MAX_DIGITS = 18
_MAX_SAID = 300
"""Longest error message, in characters: it may quote what was found."""

NOT_YAML: Final = (
    YAMLError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)
"""Errors of ruamel.yaml for text that is not YAML: its own, and some internal ones."""

Kind = str
"""``text``, ``integer``, ``boolean``, ``date``, ``list of texts``, ``mapping``."""

_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A value with its file and line."""

    data: Any
    """None, bool, int, float, str, a date, a list of :class:`Value`, or a dict of them."""
    source: str
    """The file, as it was named."""
    line: int
    """The line of the value, or of its key."""
    raw: str = ""
    """The scalar as written."""

    def error(self, message: str, hint: str | None = None) -> RecipeError:
        """Return the error *message*, cut to a readable length, with this value's file and line in front."""
        said = message if len(message) <= _MAX_SAID else f"{message[:_MAX_SAID]}…"
        return RecipeError(f"{self.source}:{self.line}: {said}", hint=hint)


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """The allowed value of one key: the parser's rule and the editors' schema."""

    kind: Kind
    doc: str
    required: bool = False
    choices: tuple[str, ...] = ()
    more: Callable[[], Sequence[str]] | None = None
    """Returns further choices, added by plugins."""
    pattern: str = ""
    """The pattern of a string, for editors; the parser has its own check."""
    examples: tuple[Any, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    keys: Mapping[str, Key] | None = None
    """The keys of a mapping; None: any."""
    matrix: bool = False
    """A string that may be a list in a matrix recipe."""


def read_document(path: Path) -> Value:
    """Read the YAML document in the file *path*.

    Raises:
        RecipeError: it cannot be read, or is not YAML that recipes allow; the message has file and line.
    """
    source = str(path)
    try:
        data = read_regular(path, most=MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{source}: cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{source}: larger than {MAX_BYTES // 1024} KiB, the limit for recipes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{source}:{line}: is not UTF-8 text") from error
    try:
        _check_events(text, source)
        root = _parser().compose(text)
    except MarkedYAMLError as error:
        raise _syntax_error(error, text, source) from error
    except NOT_YAML as error:
        # ruamel.yaml raises some internal errors for text that is not YAML.
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise RecipeError(f"{source}: invalid YAML: {printable_line(said[0])}") from error
    if root is None:
        raise RecipeError(
            f"{source}:1: is empty", hint="`envbuilder init NAME` writes a recipe to start from"
        )
    return _value(root, source)


def read_keys(value: Value, keys: Mapping[str, Key], where: str = "") -> dict[str, Value]:
    """Check that *value* is a mapping of *keys*, each of its kind; *where* is the path to it (``pack.``).

    Raises:
        RecipeError: an unknown key, one too few, a wrong type, a value out of bounds.
    """
    if not isinstance(value.data, dict):
        what = f"`{where.rstrip('.')}`" if where else "a recipe"
        raise value.error(f"{what} is {_name(value.data)}, not a mapping of keys to values")
    found: dict[str, Value] = value.data
    for name, inner in found.items():
        if name not in keys:
            near = difflib.get_close_matches(name, keys, n=1, cutoff=0.5)
            guess = f", did you mean `{where}{near[0]}`?" if near else ""
            raise inner.error(f"unknown key `{where}{name}`{guess}", hint=f"known keys: {', '.join(keys)}")
    for name, key in keys.items():
        if name in found:
            _check(found[name], key, where + name)
        elif key.required:
            raise value.error(f"missing key `{where}{name}`", hint=key.doc)
    return found


def _check(value: Value, key: Key, name: str) -> None:
    data = value.data
    if key.kind == "text":
        if isinstance(data, (int, float, datetime.date)) and not isinstance(data, bool):
            raise value.error(
                f"`{name}` is {_name(data)}, not a text",
                hint=f'YAML parses 3.10 as 3.1: write it in quotes, {name}: "{value.raw}"',
            )
        _expect(value, isinstance(data, str), "a text", name)
        if key.choices and data not in key.choices:
            _check_more_choices(name, value, key)
    elif key.kind == "integer":
        _expect(value, isinstance(data, int) and not isinstance(data, bool), "a whole number", name)
        low, high = key.minimum, key.maximum
        if (low is not None and data < low) or (high is not None and data > high):
            raise value.error(f"`{name}` is {data}, expected {low} to {high}")
    elif key.kind == "number":
        number = isinstance(data, (int, float)) and not isinstance(data, bool)
        _expect(value, number and data >= 0 and data < float("inf"), "a number from 0 on", name)
    elif key.kind == "boolean":
        _expect(value, isinstance(data, bool), "true or false", name)
    elif key.kind == "date":
        _expect(value, isinstance(data, datetime.date), "a date (2026-10-01)", name)
    elif key.kind == "list of texts":
        _expect(value, isinstance(data, list), "a list", name)
        for index, item in enumerate(data):
            _expect(item, isinstance(item.data, str), "a text", f"{name}[{index}]")
    elif key.keys is not None:
        read_keys(value, key.keys, f"{name}.")
    else:
        _expect(value, isinstance(data, dict), "a mapping of keys to values", name)


def _check_more_choices(name: str, value: Value, key: Key) -> None:
    choices = (*key.choices, *(key.more() if key.more is not None else ()))
    if value.data not in choices:
        near = difflib.get_close_matches(value.data, choices, n=1, cutoff=0.5)
        guess = f", did you mean `{near[0]}`?" if near else ""
        raise value.error(f"`{name}` is {value.data!r}{guess}", hint=f"possible: {', '.join(choices)}")


def _expect(value: Value, condition: bool, expected: str, name: str) -> None:
    if not condition:
        raise value.error(f"`{name}` is {_name(value.data)}, not {expected}")


def plain(value: Value) -> Any:
    """Return *value* as plain Python data, without line numbers."""
    if isinstance(value.data, dict):
        return {name: plain(inner) for name, inner in value.data.items()}
    if isinstance(value.data, list):
        return [plain(inner) for inner in value.data]
    return value.data


def schema_of(keys: Mapping[str, Key]) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a mapping of *keys*."""
    types = {
        "text": "string",
        "date": "string",
        "integer": "integer",
        "boolean": "boolean",
        "number": "number",
    }
    properties: dict[str, Any] = {}
    for name, key in keys.items():
        if key.kind == "list of texts":
            entry: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
        elif key.kind == "mapping":
            entry = schema_of(key.keys) if key.keys is not None else {"type": "object"}
        else:
            entry = {"type": types[key.kind]}
        limits = {"minimum": key.minimum, "maximum": key.maximum, "pattern": key.pattern or None}
        entry |= {word: limit for word, limit in limits.items() if limit is not None}
        if key.matrix:
            entry = {"anyOf": [entry, {"type": "array", "items": dict(entry), "minItems": 1}]}
        entry["description"] = key.doc
        if key.choices:
            entry["enum" if key.more is None else "examples"] = list(key.choices)
        if key.examples:
            entry["examples"] = list(key.examples)
        properties[name] = entry
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    required = [name for name, key in keys.items() if key.required]
    return schema | ({"required": required} if required else {})


def _parser() -> YAML:
    return YAML(typ="safe", pure=True)


def _check_events(text: str, source: str) -> None:
    """Reject YAML features that recipes do not allow, before constructing anything."""
    depth = documents = nodes = 0
    for event in _parser().parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise RecipeError(f"{source}:{line}: found a second document; a recipe is a single document")
            if event.version is not None or event.tags:
                raise RecipeError(f"{source}:{line}: YAML directives (%) are not allowed in recipes")
        elif isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor is not None):
            raise RecipeError(
                f"{source}:{line}: anchors and aliases (&, *) are not allowed in recipes; repeat the value"
            )
        elif isinstance(event, NodeEvent):
            nodes += 1
            if nodes > _MAX_NODES:
                raise RecipeError(f"{source}:{line}: more than {_MAX_NODES} values, the limit for recipes")
            if getattr(event, "tag", None) is not None:
                raise RecipeError(f"{source}:{line}: tags (!) are not allowed in recipes")
        depth += {"MappingStartEvent": 1, "SequenceStartEvent": 1}.get(type(event).__name__, 0)
        depth -= {"MappingEndEvent": 1, "SequenceEndEvent": 1}.get(type(event).__name__, 0)
        if depth > _MAX_DEPTH:
            raise RecipeError(
                f"{source}:{line}: nested more than {_MAX_DEPTH} levels deep, the limit for recipes"
            )


def _syntax_error(error: MarkedYAMLError, text: str, source: str) -> RecipeError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark is not None else 1
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    if "\t" in here[: len(here) - len(here.lstrip())] or "\\t" in (error.problem or ""):
        return RecipeError(f"{source}:{line}: found a tab; YAML is indented with spaces")
    problem = " ".join(part for part in (error.context, error.problem) if part)
    return RecipeError(f"{source}:{line}: invalid YAML: {problem}")


def _value(node: Node, source: str, line: int | None = None) -> Value:
    at = node.start_mark.line + 1 if line is None else line
    if isinstance(node, MappingNode):
        return Value(data=_mapping(node, source), source=source, line=at)
    if isinstance(node, SequenceNode):
        return Value(data=[_value(item, source) for item in node.value], source=source, line=at)
    assert isinstance(node, ScalarNode)
    _check_text(node.value, source, at)
    return Value(data=_scalar(node, source), source=source, line=at, raw=node.value)


def _check_text(text: str, source: str, line: int) -> None:
    if len(text) > _MAX_TEXT:
        raise RecipeError(
            f"{source}:{line}: a text of {len(text)} characters: more than {_MAX_TEXT}, the limit for recipes"
        )
    if not is_plain(text):
        raise RecipeError(
            f"{source}:{line}: {shown(text)}: control and invisible characters are not allowed in recipes"
        )


def _mapping(node: MappingNode, source: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for key, inner in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise RecipeError(f"{source}:{line}: expected a word as a key")
        _check_text(key.value, source, line)
        if key.value in found:
            first = found[key.value].line
            raise RecipeError(f"{source}:{line}: the key `{key.value}` is duplicated (first at line {first})")
        found[key.value] = _value(inner, source, line)
    return found


def _scalar(node: ScalarNode, source: str) -> Any:
    tag, text = str(node.tag).removeprefix(_TAG), node.value
    try:
        if tag == "null":
            return None
        if tag == "bool":
            return text.lower() == "true"
        if tag == "int" and len(text) <= _MAX_DIGITS:
            return int(text.replace("_", ""), 0)
        if tag == "float":
            return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
        if tag == "timestamp":
            return datetime.date.fromisoformat(text)
    except ValueError:
        return text  # 0o7_ and 2026-13-40 are texts to us: the check of the key says what is wrong with them
    return text


def _name(data: Any) -> str:
    """Return a description of *data* for an error."""
    if data is None:
        return "empty"
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, (int, float)):
        return f"the number {data}"
    if isinstance(data, str):
        return f"the text {data!r}"
    if isinstance(data, datetime.date):
        return f"the date {data}"
    return "a list" if isinstance(data, list) else "a mapping"
