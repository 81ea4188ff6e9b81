"""What generate() answers; tests/runtime/test_pretrained_server.py has it of transformers."""

from __future__ import annotations

import inspect
import types
from typing import Any

import pytest
import torch

from tests.helpers.runtime import load_runtime

pytestmark = pytest.mark.torch


class Net(torch.nn.Module):
    """Appends two tokens to each row."""

    def __init__(self, encoder_decoder: bool = False, **options: Any) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(is_encoder_decoder=encoder_decoder, max_position_embeddings=10)
        known = {"pad_token_id": None, "eos_token_id": [7, 8], "max_new_tokens": 2, **options}
        self.generation_config = types.SimpleNamespace(**known)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        raise AssertionError("generate() answers, and its signature alone is taken from here")

    def generate(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> Any:
        assert attention_mask is not None
        sequences = torch.nn.functional.pad(input_ids * attention_mask, (0, 2))
        return types.SimpleNamespace(sequences=sequences) if input_ids.shape[0] > 1 else sequences


def generating(model: Any) -> Any:
    return load_runtime().runtime_module("generating").GeneratingModel(model)


@pytest.mark.parametrize("rows", [1, 2])
def test_sequences(rows: int) -> None:
    model, ids = generating(Net()), torch.ones(rows, 3, dtype=torch.long)
    assert list(inspect.signature(model.forward).parameters) == ["input_ids", "attention_mask"]
    for answer in (model(ids, ids), model(attention_mask=ids, input_ids=ids)):
        assert answer["sequences"].tolist() == [[1, 1, 1, 0, 0]] * rows


def test_a_text_before_tokens_that_are_generated() -> None:
    decoder, both = generating(Net()), generating(Net(encoder_decoder=True))
    assert (decoder.pads_left, decoder.longest) == (True, 8)
    assert (both.pads_left, both.longest) == (False, None)
    assert generating(Net(max_new_tokens=None)).longest is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 7), ({"eos_token_id": 9}, 9), ({"pad_token_id": 0}, 0), ({"eos_token_id": None}, None)],
)
def test_what_rows_are_filled_with(options: dict[str, Any], expected: int | None) -> None:
    assert generating(Net(**options)).model.generation_config.pad_token_id == expected


def test_a_model_that_generates_nothing() -> None:
    with pytest.raises(
        Exception, match=r"output 'sequences' is what generate\(\) returns, and Linear has none"
    ):
        generating(torch.nn.Linear(1, 1))
