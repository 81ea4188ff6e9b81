"""Fuzz the import of files that are well-formed, and no file of the tool that they are said to be of.

Values are of other types, keys are gone, tables are doubled. Each is imported, or refused with one of the tool's own
errors, and no line has two fates. ``python -m tests.fuzz.imported --seconds 60``. See :mod:`tests.fuzz.common`.
"""

from __future__ import annotations

import contextlib
import copy
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.common import fuzz, instrumented

with instrumented(include=["envbuilder"]):
    from envbuilder.recipe.importing.convert import Choices, make_recipe
    from envbuilder.recipe.importing.detect import read_import
    from envbuilder.util.documents import parse_json, parse_toml
    from envbuilder.util.yaml import plain, read_document
from envbuilder.errors import EnvbuilderError
from tests.helpers.imports import FILES
from tests.helpers.imports_more import MORE

_FOLDER = tempfile.TemporaryDirectory(prefix="envbuilder-fuzz-")
_ODD: tuple[Any, ...] = (
    *(0, 3, -1.5, True, False, "", "x", "sys;x", "*", "\x1b[2J", "..", "9" * 30, "torch", "a[b", ">=", "=="),
    *([], {}, [1], ["a"], [[]], [{}], {"a": "b"}, {"version": 3}, [{"name": "x"}], ["torch==2.7.1"]),
    *("https://[e", "https://download.pytorch.org/whl/cu126", "git+https://x/y", "./x", "3.10", "2.7.1"),
)
_KEYS = (
    "name",
    "version",
    "extras",
    "extra",
    "marker",
    "index",
    "git",
    "path",
    "url",
    "groups",
    "source",
    "pip",
)
_CHOICES = (
    Choices(),
    Choices(triton="25.06"),
    Choices(torch="2.7.1", cuda="cu126"),
    Choices(triton="pytriton-0.7.0", python="3.10"),
)
_EXAMPLES = [
    (example.path, dict(example.files)) for example in FILES if not example.path.endswith(".txt")
] + [(next(iter(files)), dict(files)) for files in MORE.values()]
SEEDS = [str(number).encode() for number in range(len(_EXAMPLES))]


def read_mutated(data: bytes) -> None:
    """Change an example as *data* says, which chance is drawn from, and import it."""
    chance = random.Random(data)
    path, files = _EXAMPLES[int(data) % len(_EXAMPLES)] if data.isdigit() else chance.choice(_EXAMPLES)
    with tempfile.TemporaryDirectory(dir=_FOLDER.name) as name:
        folder = Path(name)
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        names = ["dev"]
        for file in files:
            if not file.endswith(".txt") and (file == path or chance.random() < 0.3):
                names += _mutate(folder / file, chance)
        groups = chance.sample(names, min(len(names), chance.choice((0, 0, 0, 0, 1))))
        with contextlib.suppress(EnvbuilderError):
            made = make_recipe(read_import(folder / path, groups), folder, chance.choice(_CHOICES))
            told = Counter((one.place, one.text) for one in made.remarks if one.text)
            assert max(told.values(), default=1) == 1, told.most_common(1)
            assert all(one.why for one in made.remarks if one.fate != "carried over")


def _mutate(path: Path, chance: random.Random) -> list[str]:
    """Change the document at *path*; return its keys, of which some are groups."""
    document, kind = _parse(path)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        slots = list(_slots(document))
        if slots:
            _change(*chance.choice(slots), document, chance)
    path.write_text(json.dumps(document) if kind != "toml" else _toml(document))
    return [key for holder, key in _slots(document) if isinstance(holder, dict)]


def _parse(path: Path) -> tuple[Any, str]:
    text = path.read_text()
    if text.startswith("{"):
        return copy.deepcopy(dict(parse_json(text, where="x").value)), "json"
    with contextlib.suppress(EnvbuilderError):
        return copy.deepcopy(dict(parse_toml(text.encode(), where="x").value)), "toml"
    return plain(read_document(path)), "yaml"


def _slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a value: what holds it, and its key or number there."""
    inside: list[Any] = [value]
    while inside:
        holder = inside.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], (dict, list)):
                inside.append(holder[key])


def _change(holder: Any, key: Any, document: Any, chance: random.Random) -> None:
    value = holder[key]
    match chance.randrange(6):
        case 0 | 1:
            holder[key] = copy.deepcopy(chance.choice(_ODD))
        case 2:
            del holder[key]
        case 3:
            holder[key] = chance.choice(([value], [value, value], {"a": value}))
        case 4:
            other, place = chance.choice(list(_slots(document)))
            holder[key] = copy.deepcopy(other[place])
        case _:
            if isinstance(holder, dict):
                holder[chance.choice(_KEYS)] = copy.deepcopy(value)
            else:
                holder.append(copy.deepcopy(value))


def _toml(value: Any) -> str:
    return "".join(f"{json.dumps(key)} = {_inline(one)}\n" for key, one in value.items())


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_inline(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    fuzz(read_mutated, SEEDS, __doc__.splitlines()[0])
