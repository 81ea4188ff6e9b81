"""Text to token ids, for a model whose configuration takes strings and with a tokenizer next to it."""

from __future__ import annotations

import os
from typing import Any

import torch

from .errors import ModelError, describe
from .fields import Field

SENTENCE = ("sentence_embedding", "token_embeddings")
"""What sentence-transformers calls its outputs."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
)
_LONGEST = 1_000_000
"""Tokens. A tokenizer that names more, names none."""


class SentenceModel(torch.nn.Module):
    """A model of sentence-transformers, with token ids for arguments."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = model.tokenizer
        self.longest: int | None = model.get_max_seq_length()
        self.config = getattr(model[0], "auto_model", model).config

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return ``sentence_embedding`` ``[batch, dim]`` and ``token_embeddings`` ``[batch, tokens, dim]``."""
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        found = self.model.forward(features)
        return {name: found[name] for name in SENTENCE}


class TextModel(torch.nn.Module):
    """A model with its tokenizer: strings in, padded to the longest of a batch, cut to what the model takes."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, longest: int | None, taken: list[str]) -> None:
        super().__init__()
        self.model = model
        self._tokenizer, self._longest, self._taken = tokenizer, longest, taken

    def forward(self, *texts: list[str]) -> Any:
        """Return what the model returns for one list of texts, or for the pairs of two."""
        options = {"max_length": self._longest} if self._longest else {}
        tokens = self._tokenizer(
            *(list(one) for one in texts),
            padding=True,
            truncation=bool(options),
            return_tensors="pt",
            **options,
        )
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        given = {name: value.to(device) for name, value in tokens.items() if name in self._taken}
        return self.model(**given)


def wants_tokenizer(folder: str, inputs: list[Field]) -> bool:
    """Say whether text comes in, and a tokenizer lies in *folder*."""
    strings = [field for field in inputs if field.data_type == "STRING"]
    there = any(os.path.isfile(os.path.join(folder, name)) for name in TOKENIZER_FILES)
    return bool(strings) and len(strings) == len(inputs) and there


def with_tokenizer(model: torch.nn.Module, folder: str, longest: int | None, taken: list[str]) -> TextModel:
    """Return *model* with the tokenizer in *folder*; *longest* is TOKENIZER_MAX_LENGTH; *taken* are its arguments.

    Raises:
        ModelError: the tokenizer cannot be loaded.
    """
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        try:
            from transformers import AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except ImportError as error:
            told = "add transformers to the recipe's dependencies"
            raise ModelError(
                f"the tokenizer needs transformers, which is missing from the environment: {told}"
            ) from error
        except Exception as error:
            told = " ".join(describe(error, "").split())
            raise ModelError(f"the tokenizer in the version folder cannot be loaded: {told}") from error
    if getattr(tokenizer, "pad_token", None) is None:
        tokenizer.pad_token = tokenizer.eos_token  # GPT-2's kind has none; the mask hides what is padded
    return TextModel(model, tokenizer, longest or _longest(model, tokenizer), taken)


def _longest(model: torch.nn.Module, tokenizer: Any) -> int | None:
    """Return how many tokens the model takes, as far as it, or its tokenizer, says so."""
    config = getattr(model, "config", None)
    said = [
        getattr(model, "longest", None),
        getattr(tokenizer, "model_max_length", None),
        *(getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")),
    ]
    known = [int(one) for one in said if isinstance(one, (int, float)) and 0 < one < _LONGEST]
    return min(known, default=None)
