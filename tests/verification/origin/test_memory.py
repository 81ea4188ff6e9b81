"""What was found out is remembered whole, by all that it depends on, or found out again."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.store.local import Store
from envbuilder.verification.origin.memory import KIND, Memory


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(store=Store.open(tmp_path / "store"), tools="1")


def test_what_is_remembered_is_recalled(memory: Memory) -> None:
    key = memory.key("a", "b")
    assert memory.recall(key) is None
    memory.remember(key, {"x": ["y", 1]})
    assert memory.recall(key) == {"x": ["y", 1]}


def test_a_key_has_everything_that_decides(memory: Memory) -> None:
    others = [
        memory.key("a", "c"),
        memory.key("a"),
        memory.key("ab"),
        memory.key("a\udcff", "b"),
        Memory(store=memory.store, tools="2").key("a", "b"),
    ]
    assert len({memory.key("a", "b"), *others}) == 6


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data.replace(b"true", b"null"),
        lambda data: data.partition(b"\n")[2],
        lambda data: b"\xff" * 64 + b"\n" + data.partition(b"\n")[2],
        lambda data: b"0" * 64 + b"\n" + b"[" * 100_000,
    ],
)
def test_what_was_changed_is_not_believed(memory: Memory, spoil: object) -> None:
    assert callable(spoil)
    key = memory.key("a")
    memory.remember(key, True)
    path = memory.store.find(KIND, key)
    assert path is not None
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(spoil(data))
    assert memory.recall(key) is None


def test_an_entry_of_another_key_is_not_believed(memory: Memory) -> None:
    one, two = memory.key("a"), memory.key("b")
    memory.remember(one, 1)
    memory.remember(two, 2)
    first, second = memory.store.find(KIND, one), memory.store.find(KIND, two)
    assert first is not None
    assert second is not None
    second.chmod(0o644)
    second.write_bytes(first.read_bytes())
    assert memory.recall(two) is None
