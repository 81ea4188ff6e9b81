"""Requests in a file of arrays, and whose fault it is that a model refuses one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envbuilder.guest.cases import PATIENCE, may_be_the_inputs_fault, packed, read_cases, titled

ARRAYS: dict[str, Any] = {
    "floats": np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3),
    "bools": np.array([True, False]),
    "a number alone": np.array(3, np.int64),
    "nothing": np.empty((0, 3), np.float16),
    "bytes": np.array([[b"a\0b", b""], [b"\xff", b"long" * 100]], dtype=object),
    "texts": np.array(["caf\N{LATIN SMALL LETTER E WITH ACUTE}", "b"], dtype=object),
    "one text": np.array(b"alone", dtype=object),
    "no texts": np.empty((0, 2), dtype=object),
}


def saved(path: Path, cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    arrays = dict(
        packed(label, name, array) for label, inputs in cases.items() for name, array in inputs.items()
    )
    np.savez(path, **arrays)
    with np.load(path) as found:  # which refuses what is pickled
        assert set(found.files) == set(arrays)
        assert all(found[name].dtype.kind != "O" for name in found.files)
    return read_cases(str(path))


@pytest.mark.parametrize("kind", ARRAYS)
def test_what_is_written_is_read(tmp_path: Path, kind: str) -> None:
    array = ARRAYS[kind]
    found = saved(tmp_path / "cases.npz", {"1": {"x": array}})["1"]["x"]
    expected = [one if isinstance(one, bytes) else str(one).encode() for one in array.reshape(-1)]
    assert found.shape == array.shape
    if array.dtype.kind == "O":
        assert found.reshape(-1).tolist() == expected
    else:
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


def test_each_request_has_its_inputs(tmp_path: Path) -> None:
    one, text = ARRAYS["floats"], ARRAYS["bytes"]
    found = saved(tmp_path / "cases.npz", {"1": {"x": one, "a/b": text}, "warm up": {"x": one * 2}})
    assert {label: sorted(inputs) for label, inputs in found.items()} == {
        "1": ["a/b", "x"],
        "warm up": ["x"],
    }
    assert found["warm up"]["x"].tolist() == (one * 2).tolist()


def test_a_size_is_said_as_a_batch() -> None:
    assert (titled("8"), titled("warm up")) == ("batch of 8", "warm up")


MADE_UP = {"x": np.full((2, 3), -1.5, np.float32), "n": np.ones(2, np.int32)}


def test_a_model_that_takes_a_range_only() -> None:
    asked: list[Any] = []

    def answers(inputs: dict[str, Any]) -> bool:
        asked.append(inputs)
        return bool((inputs["x"] >= 0).all())

    assert may_be_the_inputs_fault(MADE_UP, answers, seconds=0)
    assert asked[-1] is MADE_UP, "the one that was refused is refused again"
    assert asked[0]["x"].dtype == np.float32
    assert asked[0]["x"].shape == (2, 3)
    assert all(one["n"] is MADE_UP["n"] for one in asked), "only floats are made anew"


def test_a_model_that_takes_nothing_or_everything() -> None:
    assert not may_be_the_inputs_fault(MADE_UP, lambda _: False, seconds=0)
    assert not may_be_the_inputs_fault(MADE_UP, lambda _: True, seconds=0), "then another thing was amiss"


def test_without_floats_there_is_nothing_else_to_ask() -> None:
    asked: list[Any] = []

    def answers(inputs: dict[str, Any]) -> bool:
        asked.append(inputs)
        return True

    assert not may_be_the_inputs_fault({"n": MADE_UP["n"]}, answers, seconds=0)
    assert asked == []


def test_after_a_request_that_took_long_nothing_else_is_tried_and_nothing_is_known() -> None:
    asked: list[Any] = []

    def answers(inputs: dict[str, Any]) -> bool:
        asked.append(inputs)
        return False

    assert may_be_the_inputs_fault(MADE_UP, answers, seconds=PATIENCE)
    assert not may_be_the_inputs_fault({"n": MADE_UP["n"]}, answers, seconds=PATIENCE)
    assert asked == []
    assert not may_be_the_inputs_fault(MADE_UP, answers, seconds=PATIENCE - 1)
    assert asked
