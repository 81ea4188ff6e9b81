"""Convert text to token ids, for a model with string inputs and a tokenizer beside it."""

from __future__ import annotations

import os
from typing import Any

import torch

from .errors import ModelError, describe
from .fields import Field
from .parameters import Parameters
from .weight_files import LFS

SENTENCE = ("sentence_embedding", "token_embeddings")
"""Names of the outputs of sentence-transformers."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spm.model",
    "source.spm",
)
EXAMPLE = b"a"
"""A text with at least one token: an empty one may have none."""
_OFFSET = (
    "roberta",
    "camembert",
    "mpnet",
    "longformer",
    "data2vec-text",
    "ibert",
    "xmod",
    "luke",
    "lilt",
    "esm",
)
"""Model types whose positions begin after that of padding, so that fewer tokens fit."""
_LONGEST = 1_000_000
"""Tokens: a tokenizer with a larger limit has none (transformers then sets 1e30)."""


class SentenceModel(torch.nn.Module):
    """A model of sentence-transformers, called with token ids."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = getattr(model, "tokenizer", None)
        self.longest: int | None = model.get_max_seq_length()
        self.takes_ids = hasattr(model[0], "auto_model")
        self.config = getattr(getattr(model[0], "auto_model", model), "config", None)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return ``sentence_embedding`` ``[batch, dim]`` and ``token_embeddings`` ``[batch, tokens, dim]``."""
        if not self.takes_ids:
            kind = type(self.model[0]).__name__
            raise ModelError(
                f"its first module, {kind}, takes text and no token ids: make the input TYPE_STRING"
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        found = self.model.forward(features)
        kept = getattr(self.model, "truncate_dim", None)
        return {name: found[name][..., :kept] if name == SENTENCE[0] else found[name] for name in SENTENCE}


class TextModel(torch.nn.Module):
    """A model with its tokenizer: texts are padded to the longest of a batch and truncated to the model's limit."""

    def __init__(self, model: torch.nn.Module, tokenizer: Any, longest: int | None, taken: list[str]) -> None:
        super().__init__()
        self.model = model
        self._tokenizer, self._longest, self._taken = tokenizer, longest, taken

    def forward(self, *texts: list[str]) -> Any:
        """Return the model's result for one list of texts, or for pairs from two."""
        options = {"max_length": self._longest} if self._longest else {}
        tokens = self._tokenizer(
            *(list(one) for one in texts),
            padding=True,
            truncation=bool(options),
            return_tensors="pt",
            **options,
        )
        if (
            not all(map(str.strip, texts[0]))
            and not tokens.get("attention_mask", tokens["input_ids"] + 1).any(1).all()
        ):
            raise ModelError("an empty text has no tokens for this model: leave it out, or send a character")
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        given = {name: value.to(device) for name, value in tokens.items() if name in self._taken}
        return self.model(**given)


class SentenceTextModel(TextModel):
    """A sentence-transformers model called with texts: its ``encode`` applies default prompt, case and truncation."""

    def __init__(self, model: SentenceModel, longest: int | None) -> None:
        super().__init__(model, None, longest, [])
        if longest:
            model.model.max_seq_length = longest

    def forward(self, *texts: list[str]) -> Any:
        """Return ``sentence_embedding`` ``[batch, dim]``."""
        (given,) = texts
        library: Any = self.model.model
        found = library.encode(
            list(given), batch_size=max(1, len(given)), convert_to_tensor=True, show_progress_bar=False
        )
        return {SENTENCE[0]: found}


def wants_tokenizer(folder: str, inputs: list[Field]) -> bool:
    """Return whether an input is text and *folder* contains a tokenizer."""
    strings = [field for field in inputs if field.data_type == "STRING"]
    with os.scandir(folder) as entries:  # sentence-transformers may write its first module into a subfolder
        first = [one.path for one in entries if one.name.startswith("0_") and one.is_dir()]
    there = any(
        os.path.isfile(os.path.join(one, name)) for one in (folder, *first) for name in TOKENIZER_FILES
    )
    return bool(strings) and len(strings) == len(inputs) and there


def check_texts(folder: str, inputs: list[Field], batched: bool) -> None:
    """Refuse text inputs that the Hugging Face model in *folder* cannot take.

    Raises:
        ModelError: an input is text, and there is no tokenizer, or the inputs are not one or two texts.
    """
    strings = [field for field in inputs if field.data_type == "STRING"]
    others = [field.name for field in inputs if field.data_type != "STRING"]
    if not strings:
        return
    if others:
        raise ModelError(
            f"input {strings[0].name!r} is TYPE_STRING and {others[0]!r} is not: the tokenizer makes all inputs of "
            "the model from text; keep only text, or send token ids"
        )
    if len(strings) > 2:
        raise ModelError(
            f"{len(strings)} inputs are TYPE_STRING: the tokenizer takes one text, or the two of a pair"
        )
    for field in strings:
        if field.dims != (1,) if batched else len(field.dims) != 1:
            expected = "[1]: one text in each row" if batched else "[-1]: a list of texts"
            raise ModelError(
                f"input {field.name!r} is TYPE_STRING with dims {list(field.dims)}; expected {expected}"
                ", and a second input for the other texts of pairs"
            )
    if not wants_tokenizer(folder, inputs):
        raise ModelError(
            f"input {strings[0].name!r} is TYPE_STRING, and the version folder has no tokenizer "
            f"({', '.join(TOKENIZER_FILES[:4])}, …): copy what tokenizer.save_pretrained wrote into it"
        )


def with_tokenizer(
    model: torch.nn.Module, folder: str, parameters: Parameters, taken: list[str], outputs: list[str]
) -> TextModel:
    """Return *model* with the tokenizer in *folder*.

    Args:
        model: the model, called with token ids.
        folder: the version folder.
        parameters: the limit of tokens, and whether the tokenizer's own code may run.
        taken: names of the arguments of the model.
        outputs: names of the configured outputs.

    Raises:
        ModelError: the tokenizer cannot be loaded, or the configured outputs exclude the model's default prompt.
    """
    if isinstance(model, SentenceModel) and outputs == [SENTENCE[0]]:
        return SentenceTextModel(model, parameters.longest_text)
    if isinstance(model, SentenceModel) and getattr(model.model, "default_prompt_name", None):
        raise ModelError(
            f"the model has a default prompt, which is put before texts for {SENTENCE[0]} only: "
            "leave out other outputs, or send token ids"
        )
    tokenizer: Any = getattr(model, "tokenizer", None)
    if tokenizer is None:
        tokenizer = _load_tokenizer(folder, parameters.trust_remote_code)
    if getattr(tokenizer, "pad_token", None) is None:
        if getattr(tokenizer, "eos_token", None) is None:
            raise ModelError(
                "the tokenizer has no token to pad texts with: set its pad_token, and write it again (save_pretrained)"
            )
        tokenizer.pad_token = tokenizer.eos_token  # GPT-2 and similar have none; the mask hides the padding
    if getattr(model, "pads_left", False):
        tokenizer.padding_side = "left"
    config: Any = getattr(model, "config", None)
    if config is not None and getattr(config, "pad_token_id", 0) is None:
        config.pad_token_id = tokenizer.pad_token_id  # classifiers look for the last token before it
    return TextModel(model, tokenizer, parameters.longest_text or most_tokens(model, tokenizer), taken)


def _load_tokenizer(folder: str, trusts: bool) -> Any:
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusts)
    except ImportError as error:
        told = "add transformers to the recipe's dependencies"
        raise ModelError(
            f"the tokenizer needs transformers, which is missing from the environment: {told}"
        ) from error
    except Exception as error:
        if not trusts and "trust_remote_code" in str(error):
            raise ModelError(
                "the tokenizer's code is in its own repository, which is not run: "
                'TRUST_REMOTE_CODE: "true" runs the code in the version folder'
            ) from error
        told = " ".join(describe(error, "").split())
        cure = _cure(folder)
        raise ModelError(f"the tokenizer in the version folder cannot be loaded: {told}{cure}") from error


def _cure(folder: str) -> str:
    """Return what to do about a tokenizer that cannot be loaded, where transformers' own error does not say it."""
    there = [name for name in TOKENIZER_FILES if os.path.isfile(os.path.join(folder, name))]
    for name in there:
        with open(os.path.join(folder, name), "rb") as file:
            if file.read(len(LFS)) == LFS:
                return f"; {name} is a Git LFS pointer, not the file itself: `git lfs pull` fetches that"
    if "tokenizer.json" in there or not any(name.endswith((".model", ".spm")) for name in there):
        return ""
    return (
        "; sentencepiece and protobuf are needed to read it: add them to the recipe's dependencies, or let "
        "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) write a tokenizer.json, which needs neither"
    )


def most_tokens(model: torch.nn.Module, tokenizer: Any) -> int | None:
    """Return the model's limit in tokens, from its configuration or its tokenizer."""
    config = getattr(model, "config", None)
    said = [
        getattr(model, "longest", None),
        getattr(tokenizer, "model_max_length", None),
        *(getattr(config, name, None) for name in ("max_position_embeddings", "n_positions")),
    ]
    offset = _position_offset(model, config)
    known = [int(one) for one in said[:2] if isinstance(one, (int, float)) and 0 < one < _LONGEST]
    known += [
        int(one) - offset for one in said[2:] if isinstance(one, (int, float)) and offset < one < _LONGEST
    ]
    return min(known, default=None)


def _position_offset(model: torch.nn.Module, config: Any) -> int:
    """Return how many positions no token uses: RoBERTa counts from after that of padding."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    kind, padding = str(getattr(config, "model_type", "")), getattr(config, "pad_token_id", None)
    return padding + 1 if isinstance(padding, int) and any(one in kind for one in _OFFSET) else 0
