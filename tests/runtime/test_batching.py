"""How inputs become the arguments of a call."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.requests import COUNTED, arrays, ask, rows
from tests.helpers.runtime import UNCOMPILED, config, field, simple
from tests.runtime.conftest import Serve

pytestmark = [
    pytest.mark.torch,
    # Inductor of torch 2.13 itself uses what torch 2.13 deprecates.
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]


def test_a_missing_input(serve: Serve) -> None:
    serve.write(COUNTED)
    serve.load(simple())
    answers = ask(serve, {"x": rows(1)[0]}, {})
    assert answers[1] == "net: the input 'x' is missing"
    assert "y" in answers[0]


def test_inputs_go_to_parameters_of_their_name(serve: Serve) -> None:
    serve.write("def f(b, a):\n    return a - b\n")
    x = [field("a", "FP32", [1]), field("b", "FP32", [1])]
    serve.load(config(x, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 1), np.float32)
    (answer,) = ask(serve, {"a": one * 5, "b": one * 3})
    assert arrays(answer)["y"].tolist() == [[2.0]]


def test_inputs_of_other_names_go_in_order(serve: Serve) -> None:
    serve.write("def f(left, right):\n    return left - right\n")
    x = [field("INPUT__0", "FP32", [1]), field("INPUT__1", "FP32", [1])]
    serve.load(config(x, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 1), np.float32)
    (answer,) = ask(serve, {"INPUT__1": one * 3, "INPUT__0": one * 5})
    assert arrays(answer)["y"].tolist() == [[2.0]]


OPTIONAL = """
import torch

def f(x, scale=None, *, shift: float = 10.0):
    y = x[:, :3] if scale is None else x[:, :3] * scale
    return y + shift
"""


def test_optional_inputs(serve: Serve) -> None:
    serve.write(OPTIONAL)
    inputs = [
        field("x", "FP32", [4]),
        field("scale", "FP32", [1], optional=True),
        field("shift", "FP32", [1], optional=True),
    ]
    serve.load(config(inputs, [field("y", "FP32", [3])], max_batch_size=8, parameters=UNCOMPILED))
    x, one = rows(1)[0], np.ones((1, 1), np.float32)
    answers = ask(serve, {"x": x}, {"x": x, "scale": one * 2}, {"x": x, "shift": one}, {"x": x})
    for answer, y in zip(answers, (x + 10, x * 2 + 10, x + 1, x + 10), strict=True):
        np.testing.assert_allclose(arrays(answer)["y"], y[:, :3], rtol=1e-6)


def test_optional_inputs_in_order_take_the_default(serve: Serve) -> None:
    serve.write("def f(a, b=None, c=None):\n    assert b is None\n    return a if c is None else a + c\n")
    inputs = [
        field("i0", "FP32", [1]),
        field("i1", "FP32", [1], optional=True),
        field("i2", "FP32", [1], optional=True),
    ]
    serve.load(
        config(
            inputs,
            [field("y", "FP32", [1])],
            max_batch_size=8,
            parameters={**UNCOMPILED, "WARMUP": "false"},
        )
    )
    one = np.ones((1, 1), np.float32)
    answers = ask(serve, {"i0": one, "i2": one}, {"i0": one})
    assert [arrays(answer)["y"].tolist() for answer in answers] == [[[2.0]], [[1.0]]]


def test_an_optional_input_without_a_default(serve: Serve) -> None:
    serve.write("def f(a, b, c):\n    return a\n")
    inputs = [
        field("i0", "FP32", [1]),
        field("i1", "FP32", [1], optional=True),
        field("i2", "FP32", [1], optional=True),
    ]
    serve.load(config(inputs, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED))
    one = np.ones((1, 1), np.float32)
    assert ask(serve, {"i0": one, "i2": one}) == [
        "net: input 'i1' is absent and the model has no default for it"
    ]


STRINGS = """
def f(words):
    assert isinstance(words, list) and all(isinstance(word, str) for word in words)
    return [word.upper() for word in words]
"""


@pytest.mark.parametrize("batch", [0, 8])
def test_strings_in_and_out(serve: Serve, batch: int) -> None:
    serve.write(STRINGS)
    dims = [1] if batch else [-1]
    serve.load(config([field("words", "STRING", dims)], [field("y", "STRING", dims)], max_batch_size=batch))
    shape = (-1, 1) if batch else (-1,)
    first = np.array(["é", "b"], dtype=object).reshape(shape)
    second = np.array([b"\xff", b""], dtype=object).reshape(shape)
    answers = ask(serve, {"words": first}, {"words": second})
    assert [arrays(answer)["y"].reshape(-1).tolist() for answer in answers] == [
        ["É".encode(), b"B"],
        [b"\xff", b""],
    ]
    assert answers[0]["y"].shape() == list(first.shape)


def test_several_strings_a_row(serve: Serve) -> None:
    serve.write("def f(words):\n    return [[a + b, b] for a, b in words]\n")
    inputs, outputs = [field("words", "STRING", [2])], [field("y", "STRING", [2])]
    serve.load(config(inputs, outputs, max_batch_size=8))
    (answer,) = ask(serve, {"words": np.array([["a", "b"], ["c", "d"]], dtype=object)})
    assert arrays(answer)["y"].tolist() == [[b"ab", b"b"], [b"cd", b"d"]]


@pytest.mark.parametrize("names", [("b", "c"), ("c", "a")])
def test_an_input_that_would_go_to_another_argument(serve: Serve, names: tuple[str, str]) -> None:
    serve.write("def f(a, b):\n    return a - b\n")
    x = [field(name, "FP32", [1]) for name in names]
    described = config(x, [field("y", "FP32", [1])], max_batch_size=8, parameters=UNCOMPILED)
    assert serve.error(described) == (
        f"the configuration's inputs are {', '.join(names)}, the model takes a, b: {sorted(set(names) - {'c'})[0]!r} "
        "would go to another argument; give all inputs the names of arguments, or none"
    )
