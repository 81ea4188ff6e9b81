"""What a model is asked, by what there is to take it from."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from envbuilder.errors import VerifyError
from envbuilder.verification.live.inputs import labels_in_words
from envbuilder.verification.live.questions import questions_for

INPUT = """
max_batch_size: %d
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] }, { name: "t" data_type: TYPE_STRING dims: [ 2 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]
"""
WARM_UP = """
model_warmup [ { name: "%s" batch_size: %d
  inputs { key: "x" value: { data_type: TYPE_FP32 dims: [ 2 ] %s } }
  inputs { key: "t" value: { data_type: TYPE_STRING dims: [ 2 ] %s } } } ]
"""
TEXTS = struct.pack("<I", 3) + b"ab\0" + struct.pack("<I", 0)


def model(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.mark.parametrize("batches", [0, 4])
def test_a_warm_up_with_files(tmp_path: Path, batches: int) -> None:
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "x.bin").write_bytes(np.array([1.5, 2.5], "<f4").tobytes())
    (tmp_path / "warmup" / "t.bin").write_bytes(TEXTS)
    files = ('input_data_file: "x.bin"', 'input_data_file: "t.bin"')
    config = model(INPUT % batches + WARM_UP % ("real/ones", 3, *files))
    questions = questions_for(config, tmp_path)
    first = questions.cases[0]
    assert (first.label, questions.source, questions.made_up) == (
        "real-ones",
        "model_warmup of config.pbtxt",
        False,
    )
    assert first.inputs["x"].tolist() == ([[1.5, 2.5]] * 3 if batches else [1.5, 2.5])
    assert first.inputs["t"].tolist() == ([[b"ab\0", b""]] * 3 if batches else [b"ab\0", b""])
    sizes = [case.label for case in questions.cases[1:]]
    assert sizes == (["1", "2", "4"] if batches else [])
    assert labels_in_words([case.label for case in questions.cases]) == (
        "real-ones, batches of 1, 2, 4" if batches else "real-ones"
    )


def test_a_warm_up_of_zeros_and_of_random_values(tmp_path: Path) -> None:
    config = model(INPUT % 0 + WARM_UP % ("z", 0, "zero_data: true", "zero_data: true"))
    (zeros,) = questions_for(config, tmp_path).cases
    assert {name: array.tolist() for name, array in zeros.inputs.items()} == {"x": [0, 0], "t": [b"", b""]}
    config = model(INPUT % 0 + WARM_UP % ("r", 0, "random_data: true", "random_data: true"))
    (random,) = questions_for(config, tmp_path).cases
    assert random.inputs["x"].any()


def test_a_file_of_a_warm_up_that_does_not_fit(tmp_path: Path) -> None:
    files = ('input_data_file: "x.bin"', "zero_data: true")
    config = model(INPUT % 0 + WARM_UP % ("w", 0, *files))
    told = "model_warmup 'w': input 'x': warmup/x.bin cannot be read: No such file or directory"
    with pytest.raises(VerifyError, match=told) as missing:
        questions_for(config, tmp_path)
    assert missing.value.hint is not None
    assert "put it there in the model directory" in missing.value.hint
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "x.bin").write_bytes(b"abc")
    with pytest.raises(VerifyError, match=r"x\.bin is not FP32\[2\]"):
        questions_for(config, tmp_path)
    (tmp_path / "warmup" / "x.bin").write_bytes(bytes(9))  # longer: a server takes the beginning
    assert questions_for(config, tmp_path).cases[0].inputs["x"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("max_batch", "old", "new", "told"),
    [
        (0, "TYPE_FP32 dims: [ 2 ]", "TYPE_INT32 dims: [ 2 ]", "is INT32[2], and the model has FP32[2]"),
        (0, "TYPE_FP32 dims: [ 2 ]", "TYPE_FP32 dims: [ 3 ]", "is FP32[3], and the model has FP32[2]"),
        (0, 'key: "x"', 'key: "z"', "has no input 'x'"),
        (2, "batch_size: 1", "batch_size: 3", "has a batch of 3, more than max_batch_size"),
    ],
)
def test_a_warm_up_with_which_a_server_does_not_load(
    tmp_path: Path, max_batch: int, old: str, new: str, told: str
) -> None:
    text = WARM_UP % ("w", 1, "zero_data: true", "zero_data: true")
    assert old in text
    with pytest.raises(VerifyError, match=re.escape(told)):
        questions_for(model(INPUT % max_batch + text.replace(old, new)), tmp_path)


def test_what_is_given_goes_before_a_warm_up_and_that_before_what_is_made_up(tmp_path: Path) -> None:
    made_up = model(INPUT % 4)
    assert questions_for(made_up, tmp_path).source == "made up from config.pbtxt"
    assert questions_for(made_up, tmp_path).narrow  # a text may be refused
    warm = model(INPUT % 4 + WARM_UP % ("w", 1, "zero_data: true", "zero_data: true"))
    np.savez(tmp_path / "given.npz", x=np.ones((2, 2), np.float32), t=np.array([[b"a", b"b"], [b"c", b"d"]]))
    questions = questions_for(warm, tmp_path, inputs=tmp_path / "given.npz")
    assert questions.source == str(tmp_path / "given.npz")
    by_label = {case.label: case.inputs for case in questions.cases}
    assert list(by_label) == ["given.npz", "1", "3", "4"]
    assert by_label["3"]["t"].tolist() == [[b"a", b"b"], [b"c", b"d"], [b"a", b"b"]]


def test_an_answer_to_each_request(tmp_path: Path) -> None:
    steps = [{"x": [1, 2], "t": ["a", "b"]}, {"x": [3, 4], "t": ["c", "d"]}]
    answers = [{"y": [1]}, {"y": [2]}]
    (tmp_path / "in.json").write_text(json.dumps({"data": steps, "validation_data": answers}))
    questions = questions_for(
        model(INPUT % 0), tmp_path, inputs=tmp_path / "in.json", tolerance={"rtol": 0.5}
    )
    assert [(case.label, case.expected[0]["y"].tolist()) for case in questions.cases] == [
        ("step 1", [1.0]),
        ("step 2", [2.0]),
    ]
    assert questions.tolerance == {"rtol": 0.5}
    np.savez(tmp_path / "out.npz", y=np.ones(1, np.float32))
    with pytest.raises(VerifyError, match=r"has 1 answers, and .* has 2 requests"):
        questions_for(model(INPUT % 0), tmp_path, inputs=tmp_path / "in.json", expected=tmp_path / "out.npz")


@pytest.mark.parametrize(
    ("batches", "x", "t", "told"),
    [
        (4, 5, 5, "is a batch of 5, and max_batch_size is 4"),
        (4, 2, 3, "the inputs have different numbers of rows: x has 2 and t has 3"),
        (4, 4, 4, None),
    ],
)
def test_rows_that_no_server_takes_are_not_the_models_fault(
    tmp_path: Path, batches: int, x: int, t: int, told: str | None
) -> None:
    path = tmp_path / "given.npz"
    np.savez(path, x=np.ones((x, 2), np.float32), t=np.full((t, 2), "a"))
    if told is None:
        assert questions_for(model(INPUT % batches), tmp_path, inputs=path).cases
    else:
        with pytest.raises(VerifyError, match=re.escape(told)):
            questions_for(model(INPUT % batches), tmp_path, inputs=path)
