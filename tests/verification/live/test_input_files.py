"""Requests that a user gives, in each of their forms."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.errors import VerifyError
from envbuilder.verification.live.input_files import read_expected, read_inputs, validation_of

CONFIG = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2, -1 ] }, { name: "t" data_type: TYPE_STRING dims: [ 1 ] },
        { name: "o" data_type: TYPE_INT64 dims: [ -1 ] optional: true } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 2 ] } ]
"""
X = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def model(batches: int = 0) -> model_config_pb2.ModelConfig:
    return text_format.Parse(f"max_batch_size: {batches}\n{CONFIG}", model_config_pb2.ModelConfig())


def written(folder: Path, document: Any) -> Path:
    path = folder / "inputs.json"
    path.write_text(json.dumps(document))
    return path


def plain(steps: list[Any]) -> list[dict[str, Any]]:
    return [{name: array.tolist() for name, array in step.items()} for step in steps]


def raw(array: Any) -> str:
    return base64.b64encode(array if isinstance(array, bytes) else array.tobytes()).decode()


FORMS = [
    {"x": {"content": [1, 2, 3, 4, 5, 6], "shape": [2, 3]}, "t": ["é"]},
    {"x": X, "t": [["é"]]},
    {"x": {"content": X}, "t": {"content": ["é"], "shape": [1]}},
    {"x": {"b64": raw(np.array(X, "<f4")), "shape": [2, 3]}, "t": {"b64": raw("é".encode()), "shape": [1]}},
    {
        "x": {"content": {"b64": raw(np.array(X, "<f4"))}},
        "t": {"b64": raw(struct.pack("<I", 2) + "é".encode())},
    },
]


@pytest.mark.parametrize("step", FORMS)
@pytest.mark.parametrize("batches", [0, 4])
def test_the_json_of_perf_analyzer(tmp_path: Path, step: Any, batches: int) -> None:
    path = written(tmp_path, {"data": [step]})
    x, t = X, ["é".encode()]
    expected = [{"x": [x], "t": [t]}] if batches else [{"x": x, "t": t}]
    (found,) = read_inputs(path, model(batches))
    assert plain([found]) == expected
    assert found["x"].dtype == np.float32


def test_steps_streams_and_what_they_answer(tmp_path: Path) -> None:
    steps = [{"x": [[number], [number]], "t": ["a"], "o": [1, 2]} for number in range(4)]
    answers = [{"y": [number, 0.5]} for number in range(4)]
    for data, validation in [(steps, answers), ([steps[:3], steps[3:]], [answers[:1], answers[1:]])]:
        path = written(tmp_path, {"data": data, "validation_data": validation})
        assert [step["x"].tolist() for step in read_inputs(path, model())] == [[[n], [n]] for n in range(4)]
        assert plain(validation_of(path, model())) == [{"y": [n, 0.5]} for n in range(4)]
        assert plain(read_expected(path, model(2))) == [{"y": [[n, 0.5]]} for n in range(4)]
    path = written(tmp_path, {"data": answers})  # a file of answers by themselves
    assert plain(read_expected(path, model())) == [{"y": [n, 0.5]} for n in range(4)]
    assert validation_of(path, model()) == []


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, x=np.array(X), t=np.array(["é"]))  # float64 and text, as they come to hand
    assert plain(read_inputs(path, model())) == [{"x": X, "t": ["é".encode()]}]
    assert plain(read_inputs(path, model(4))) == [{"x": [X], "t": [["é".encode()]]}]
    np.savez(path, x=np.array([X, X], np.float32), t=np.array([[b"a"], [b"b"]]))
    assert plain(read_inputs(path, model(4))) == [{"x": [X, X], "t": [[b"a"], [b"b"]]}]
    assert validation_of(path, model()) == []


WRONG = [
    ({"data": [{"x": X}]}, "the input 't' is missing"),
    ({"data": [{"x": X, "t": ["a"], "z": [1]}]}, "the model has no input 'z'"),
    ({"data": [{"x": [1, 2, 3], "t": ["a"]}]}, "input 'x' is not FP32[2, -1]: it has 3 values"),
    ({"data": [{"x": [[1, "a"]], "t": ["a"]}]}, "input 'x' is not FP32[2, -1]: its dtype is "),
    ({"data": [{"x": {"b64": "?"}, "t": ["a"]}]}, "input 'x' is not FP32[2, -1]: "),
    ({"data": [{"x": {"content": X, "shape": [3, 2]}, "t": ["a"]}]}, "input 'x' has the shape [3, 2]"),
    (
        {"data": [{"x": X, "t": ["a"], "o": [1.5]}]},
        "input 'o' is not INT64[-1]: its dtype is float64, and converting",
    ),
    ({"data": []}, "'data' is not a list of steps"),
    ({"data": {"x": X}}, "'data' is not a list of steps"),
    ([1], "is not a file of inputs"),
]


@pytest.mark.parametrize(
    ("kind", "values", "fits"),
    [
        ("INT8", [127, -128], True),
        ("INT8", [128, 0], False),
        ("INT32", [2**31, 0], False),
        ("UINT64", [2**63, 0], True),
        ("UINT8", [-1, 0], False),
        ("FP16", [65504.0, 0.1], True),
        ("FP16", [1e5, 0.1], False),
        ("FP32", [1e39, 0], False),
        ("FP32", [2**24 + 1, 0], True),
        ("BOOL", [1, 0], True),
        ("BOOL", [2, 0], False),
    ],
)
def test_numbers_beyond_the_range_of_a_type(tmp_path: Path, kind: str, values: Any, fits: bool) -> None:
    text = f'input [ {{ name: "x" data_type: TYPE_{kind} dims: [ 2 ] }} ]'
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    path = written(tmp_path, {"data": [{"x": values}]})
    if fits:
        (found,) = read_inputs(path, config)
        assert np.allclose(found["x"].astype(np.float64), values, rtol=1e-3)
    else:
        with pytest.raises(VerifyError, match="converting would change values"):
            read_inputs(path, config)


@pytest.mark.parametrize(("document", "told"), WRONG)
def test_what_is_wrong_is_told_by_its_name(tmp_path: Path, document: Any, told: str) -> None:
    with pytest.raises(VerifyError) as caught:
        read_inputs(written(tmp_path, document), model())
    assert told in caught.value.message
    assert str(tmp_path / "inputs.json") in caught.value.message
    assert caught.value.hint


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "pickled.npz", x=np.array([object()], dtype=object))
    for name in ("x.npz", "pickled.npz", "nothing.json", "nothing.npz"):
        with pytest.raises(VerifyError, match="cannot be read"):
            read_inputs(tmp_path / name, model())


def test_strings_in_an_npz_and_their_cure(tmp_path: Path) -> None:
    texts = np.array(["bc"], dtype=object)
    np.savez(tmp_path / "x.npz", x=np.array(X, np.float32), t=texts)
    with pytest.raises(VerifyError, match="an array of Python objects is a pickle") as caught:
        read_inputs(tmp_path / "x.npz", model())
    assert "`array.astype('S')`" in (caught.value.hint or "")
    np.savez(tmp_path / "x.npz", x=np.array(X, np.float32), t=texts.astype("S"))
    (found,) = read_inputs(tmp_path / "x.npz", model())
    assert found["t"].tolist() == [b"bc"]


def test_which_step_is_wrong_is_told(tmp_path: Path) -> None:
    path = written(tmp_path, {"data": [{"x": X, "t": ["a"]}, {"x": X}]})
    with pytest.raises(VerifyError, match=", step 2: the input 't' is missing"):
        read_inputs(path, model())


def test_the_bytes_of_one_string_keep_their_zeros(tmp_path: Path) -> None:
    data = b"\xff\xd8 picture \0\0"
    np.savez(tmp_path / "x.npz", x=np.array(X, np.float32), t=np.frombuffer(data, np.uint8))
    for batches, text in ((0, [data]), (4, [[data]])):
        (step,) = read_inputs(tmp_path / "x.npz", model(batches))
        assert step["t"].tolist() == text
    np.savez(tmp_path / "x.npz", x=np.array(X, np.float32), t=np.zeros((2, 2), np.uint8))
    with pytest.raises(VerifyError, match="input 't' is not BYTES"):
        read_inputs(tmp_path / "x.npz", model())
