"""What the house promises of itself, beside what ruff, mypy and lint-imports hold."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 400
"""Lines of a module: what is longer does more than one thing."""
LOOSE = {"__init__", "__main__", "bootstrap", "errors", "progress"}
"""The modules at the top of the package: all else has a room."""


def modules() -> list[Path]:
    return sorted([*(ROOT / "envbuilder").rglob("*.py"), *(ROOT / "runtime").rglob("*.py")])


def test_no_module_is_too_long() -> None:
    lengths = {path: path.read_bytes().count(b"\n") for path in modules()}
    assert len(lengths) > 200
    assert {str(path): length for path, length in lengths.items() if length > LONGEST} == {}


def test_nothing_lies_loose() -> None:
    assert {path.stem for path in (ROOT / "envbuilder").glob("*.py")} == LOOSE


@pytest.mark.parametrize(
    "room",
    sorted(path.parent for path in (ROOT / "envbuilder").glob("*/__init__.py")),
    ids=lambda path: path.name,
)
def test_a_room_says_what_it_is_for(room: Path) -> None:
    text = (room / "__init__.py").read_text()
    assert text.startswith('"""')
    said = text[3 : text.index('"""', 3)]
    assert said.splitlines()[0].endswith("."), "one sentence, then what goes in and out"
    assert "In: " in said
    assert "Out: " in said
