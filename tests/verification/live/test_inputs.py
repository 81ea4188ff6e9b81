"""What a model is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.guest.answers import Answer, as_saved
from envbuilder.guest.cases import read_cases
from envbuilder.verification.live import inputs as sample


def config(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize(
    ("most", "sizes"), [(0, [1]), (1, [1]), (2, [1, 2]), (6, [1, 2, 3, 5, 6]), (8, [1, 2, 3, 5, 8])]
)
def test_batch_sizes(most: int, sizes: list[int]) -> None:
    assert sample.batch_sizes(config(f"max_batch_size: {most}")) == sizes


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("FP32", "float32"),
        ("FP16", "float16"),
        ("FP64", "float64"),
        ("INT64", "int64"),
        ("UINT8", "uint8"),
        ("BOOL", "bool"),
        ("BF16", "float32"),
        ("STRING", "O"),
    ],
)
def test_inputs(kind: str, dtype: str) -> None:
    model = config(f'max_batch_size: 4 input [ {{ name: "x" data_type: TYPE_{kind} dims: [ 3, -1 ] }} ]')
    inputs = sample.make_inputs(model, 2)
    assert (inputs["x"].shape, inputs["x"].dtype) == ((2, 3, 44), np.dtype(dtype))
    assert np.array_equal(inputs["x"], sample.make_inputs(model, 2)["x"])
    if kind.startswith(("INT", "UINT")):
        assert set(inputs["x"].flat) == {0, 1}


def test_inputs_without_batches() -> None:
    model = config('input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]')
    assert sample.make_inputs(model, 1)["x"].shape == (3,)


@pytest.mark.parametrize(
    ("warmup", "length"),
    [
        ('{"dims": {"x": [16000]}}', 16000),
        ('{"dims": [{"x": [7]}, {"x": [9]}], "batch": [2]}', 7),
        ('{"dims": {"y": [7]}}', 36),
        ('{"dims": {"x": [7, 7]}}', 36),
        ('{"dims": {"x": [true]}}', 36),
        ('{"dims": {"x": [0]}}', 36),
        ('{"dims": 3}', 36),
        ("false", 36),
        ("{", 36),
    ],
)
def test_sizes_that_a_warm_up_names(warmup: str, length: int) -> None:
    asked = config('max_batch_size: 2 input { name: "x" data_type: TYPE_FP32 dims: [ -1 ] }')
    asked.parameters["WARMUP"].string_value = warmup
    shapes = [case.inputs["x"].shape for case in sample.made_up(asked).cases]
    assert shapes == [(1, length), (2, length)]


def test_saved_and_loaded(tmp_path: Path) -> None:
    model = config('max_batch_size: 4 input [ { name: "a/b" data_type: TYPE_STRING dims: [ 1 ] } ]')
    odd = np.array([[b"\0\xff\0"], [b""]], dtype=object)
    cases = [
        *sample.made_up(model).cases,
        sample.Case(label="step 1", inputs={"a/b": odd, "c#*": np.ones(2)}),
    ]
    sample.save(tmp_path / "inputs.npz", cases)
    loaded = read_cases(str(tmp_path / "inputs.npz"))
    assert {label: list(case) for label, case in loaded.items()} == {
        **{key: ["a/b"] for key in "1234"},
        "step 1": ["a/b", "c#*"],
    }
    assert loaded["3"]["a/b"].tolist() == cases[2].inputs["a/b"].tolist()
    assert loaded["step 1"]["a/b"].tolist() == odd.tolist()


def test_the_configuration_as_a_stub_gets_it() -> None:
    text = """
    name: "m" max_batch_size: 4
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] reshape { shape: [ 3 ] } } ]
    parameters: { key: "K" value: { string_value: "V" } }
    """
    data = sample.stub_config(config(text))
    assert (data["name"], data["max_batch_size"]) == ("m", 4)
    assert data["input"][0]["dims"] == [3, -1]
    assert data["input"][0]["reshape"]["shape"] == [3]
    assert data["input"][0]["data_type"] == "TYPE_FP32"
    assert data["parameters"] == {"K": {"string_value": "V"}}


@pytest.mark.parametrize(("optional", "sent"), [((), None), ((1,), ["a"]), ((0, 1), ["a"]), ((0,), ["b"])])
def test_what_a_client_may_leave_out(optional: tuple[int, ...], sent: list[str] | None) -> None:
    fields = [
        f'{{ name: "{name}" data_type: TYPE_FP32 dims: [ 2 ] optional: {str(number in optional).lower()} }}'
        for number, name in enumerate("ab")
    ]
    questions = sample.made_up(config(f"max_batch_size: 8 input [ {', '.join(fields)} ]"))
    labels = [case.label for case in questions.cases]
    if sent is None:
        assert labels == ["1", "2", "3", "5", "8"]
    else:
        assert labels == ["1", sample.WITHOUT_OPTIONAL, "2", "3", "5", "8"]
        assert list(questions.cases[1].inputs) == sent
    assert sample.made_up(config("max_batch_size: 8")).cases[0].inputs == {}


def test_answers_are_read_as_they_were_saved(tmp_path: Path) -> None:
    words = np.array([b"a", "é"], dtype=object)
    answers: dict[str, Answer] = {"none": [], "1": [{"Y": np.ones(2)}, {}, {"Y": words}], "empty": [{}]}
    np.savez(tmp_path / "outputs.npz", **as_saved(answers))
    read = sample.load(tmp_path / "outputs.npz")
    assert {label: len(answer) for label, answer in read.items()} == {"none": 0, "1": 3, "empty": 1}
    assert read["1"][0]["Y"].tolist() == [1.0, 1.0]
    assert read["1"][2]["Y"].tolist() == [b"a", "é".encode()]
    assert read["1"][1] == read["empty"][0] == {}
