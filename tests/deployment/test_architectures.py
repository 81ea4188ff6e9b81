"""Inputs and outputs of an architecture, told from its configuration alone."""

from __future__ import annotations

from typing import Any

import pytest

from envbuilder.deployment.architectures import (
    UNTOLD,
    Tensor,
    check,
    data_type,
    describe_architecture,
    hidden_size,
    needs_padding,
)


def named(architecture: str, **config: Any) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    inputs, outputs = describe_architecture(architecture, config, "FP16")
    assert all(one.data_type in ("INT64", "FP32", "FP16", "BOOL", "INT32") for one in (*inputs, *outputs))
    return {one.name: one.dims for one in inputs}, {one.name: one.dims for one in outputs}


def test_text() -> None:
    ids = {"input_ids": (-1,), "attention_mask": (-1,)}
    assert named("BertModel", hidden_size=8, vocab_size=9) == (ids, {"last_hidden_state": (-1, 8)})
    assert named("BertForTokenClassification", vocab_size=9, id2label={"0": "a"}) == (
        ids,
        {"logits": (-1, 1)},
    )
    assert named("FNetModel", hidden_size=8, vocab_size=9)[0].keys() == {"input_ids"}, "it takes no mask"


def test_outputs_have_the_type_of_the_weights() -> None:
    _, (logits,) = describe_architecture("GPT2LMHeadModel", {"vocab_size": 9, "n_embd": 4}, "BF16")
    assert (logits.data_type, logits.dims) == ("BF16", (-1, 9))


@pytest.mark.parametrize("config", [{}, {"hidden_size": None}, {"hidden_size": "x"}, {"hidden_size": -5}])
def test_what_cannot_be_told(config: dict[str, Any]) -> None:
    with pytest.raises(UNTOLD):
        describe_architecture("BertModel", {"vocab_size": 9, **config}, "FP32")


def test_an_architecture_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="Strange"):
        describe_architecture("Strange", {"hidden_size": 8}, "FP32")


@pytest.mark.parametrize(
    ("dim", "allowed"), [(-1, True), (1, True), (2**31 - 1, True), (0, False), (-2, False), (2**31, False)]
)
def test_dims_of_a_configuration(dim: int, allowed: bool) -> None:
    tensor = Tensor(name="x", data_type="FP32", dims=(3, dim))
    if allowed:
        check(tensor)
        return
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        check(tensor)


def test_the_type_of_floats() -> None:
    assert data_type({"torch_dtype": "float16"}) == "FP16"
    assert data_type({"dtype": "bfloat16", "torch_dtype": "float16"}, "float32") == "BF16"
    assert data_type({}, "float16") == "FP16"
    assert data_type({}) == data_type({"dtype": "strange"}) == "FP32"


def test_numbers_for_each_token_by_any_of_their_names() -> None:
    assert hidden_size({"d_model": 4}) == hidden_size({"n_embd": 4}) == 4
    with pytest.raises(KeyError):
        hidden_size({})


def test_a_classifier_that_must_know_what_pads() -> None:
    assert needs_padding("GPT2ForSequenceClassification", {})
    assert not needs_padding("GPT2ForSequenceClassification", {"pad_token_id": 0})
    assert not needs_padding("BertForSequenceClassification", {})
    assert not needs_padding("GPT2LMHeadModel", {})
