"""When two answers are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuilder.guest.equality import differences, largest_difference, rough_outputs

ONE = np.array([1.0, -2.0, 0.0, 4.0], np.float32)


def same(found: Any, expected: Any, *, rough: bool = False) -> bool:
    return differences({"y": found}, {"y": expected}, ["y"] if rough else []) == []


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e20])
@pytest.mark.parametrize(
    ("dtype", "rounding", "wrong"),
    [("float32", 5e-5, 1e-3), ("float64", 5e-9, 1e-7), ("float16", 1e-2, 0.1)],
)
def test_the_scale_of_an_output_does_not_count(
    dtype: str, rounding: float, wrong: float, scale: float
) -> None:
    if dtype == "float16" and scale not in (1.0,):
        scale = 8.0
    expected = (ONE * scale).astype(dtype)
    largest = 4 * scale
    assert same((expected + largest * rounding).astype(dtype), expected)  # what nearly cancels, too
    off = expected.copy()
    off[2] = largest * wrong
    assert not same(off, expected)


def test_what_was_computed_in_half_precision_is_rough() -> None:
    off = (ONE * 1.01).astype(np.float32)
    assert not same(off, ONE)
    assert same(off, ONE, rough=True)
    assert not same(ONE * 1.1, ONE, rough=True)


@pytest.mark.parametrize(
    ("parameters", "rough"),
    [({}, ["half", "brain"]), ({"DTYPE": {"string_value": "bfloat16"}}, ["half", "brain", "whole"])],
)
def test_which_outputs_are_rough(parameters: dict[str, Any], rough: list[str]) -> None:
    outputs = [("half", "TYPE_FP16"), ("brain", "TYPE_BF16"), ("whole", "TYPE_FP32")]
    config = {
        "parameters": parameters,
        "output": [{"name": name, "data_type": data_type} for name, data_type in outputs],
    }
    assert rough_outputs(config) == rough


def test_in_words() -> None:
    found: dict[str, Any] = {
        "a": ONE,
        "b": ONE,
        "c": np.array([1, 2, 3]),
        "d": ONE,
        "s": np.array([b"x"], object),
    }
    expected = {
        "a": ONE + np.float32(0.5),
        "b": ONE.astype(np.float64),
        "c": np.array([1, 2, 4]),
        "s": np.array([b"x"], object),
    }
    assert differences(found, expected) == [
        "a differs from eager by up to 0.5",
        "b is float32[4], eager gives float64[4]",
        "c differs from eager in 1 of 3 values",
        "d is in only one of the answers",
    ]


def test_what_is_no_number() -> None:
    odd = np.array([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert same(odd, odd.copy())
    for wrong in ([1.0, np.inf, -np.inf, 1.0], [np.nan, -np.inf, -np.inf, 1.0], [np.nan, 3e38, -np.inf, 1.0]):
        array = np.array(wrong, np.float32)
        (text,) = differences({"y": array}, {"y": odd})
        assert text == "y differs from eager by up to inf"
        assert not same(odd, array)


@pytest.mark.parametrize("shape", [(0,), (3, 0), ()])
def test_empty_and_scalar_outputs(shape: tuple[int, ...]) -> None:
    array = np.zeros(shape, np.float32)
    assert same(array, array.copy())
    assert largest_difference({"y": array}, {"y": array}) == 0.0
    assert not same(array, np.zeros((*shape, 1), np.float32))


def test_an_output_of_zeros_takes_no_rounding() -> None:
    assert not same(np.full(3, 1e-30, np.float32), np.zeros(3, np.float32))


def test_largest_difference() -> None:
    found = {"x": np.array([1.0, 2.5]), "n": np.array([3]), "s": np.array([b"a"], object)}
    expected = {"x": np.array([1.0, 2.0]), "n": np.array([5]), "s": np.array([b"b"], object)}
    assert largest_difference(found, expected) == 2.0


@given(st.lists(st.floats(width=32), min_size=1, max_size=8), st.booleans())
def test_an_answer_is_its_own(values: list[float], rough: bool) -> None:
    array = np.array(values, np.float32)
    assert same(array, array.copy(), rough=rough)
    assert largest_difference({"y": array}, {"y": array}) == 0.0
