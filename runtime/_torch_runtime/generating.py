"""Serve a transformers model by its ``generate()``, which returns token ids."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from .errors import ModelError

SEQUENCES = "sequences"
"""The name of the output of ``generate()`` in transformers."""


class GeneratingModel(torch.nn.Module):
    """A module with the inputs of the model's forward that returns ``sequences``: token ids ``[batch, tokens]``, int64.

    ``generation_config.json``, as ``save_pretrained`` writes it, sets how tokens are generated. Rows that end early
    are padded with its ``pad_token_id``, or else with the end token.
    """

    def __init__(self, model: Any) -> None:
        """Wrap *model*.

        Raises:
            ModelError: it has no ``generate()``.
        """
        super().__init__()
        if not callable(getattr(model, "generate", None)):
            raise ModelError(
                f"output {SEQUENCES!r} is what generate() returns, and {type(model).__name__} has none: name an output "
                "of its forward"
            )
        self.model, self.config, options = model, model.config, model.generation_config
        self.pads_left = not getattr(model.config, "is_encoder_decoder", False)
        """Whether texts are padded on the left: a decoder continues after the last token of each row."""
        self.longest = self._most_given(options)
        """The most tokens of a text that leave room for ``max_new_tokens``; None: no limit is known."""
        if options.pad_token_id is None and options.eos_token_id is not None:
            ends = options.eos_token_id
            options.pad_token_id = ends[0] if isinstance(ends, (list, tuple)) else ends
        self._names = list(inspect.signature(model.forward).parameters)
        self.forward = _with_signature(self._generate, model.forward)

    def _most_given(self, options: Any) -> int | None:
        most, new = getattr(self.config, "max_position_embeddings", None), options.max_new_tokens
        return most - new if self.pads_left and most and new and most > new else None

    def _generate(self, *values: Any, **inputs: Any) -> dict[str, torch.Tensor]:
        given = self.model.generate(**dict(zip(self._names, values)), **inputs)
        return {SEQUENCES: getattr(given, SEQUENCES, given)}


def _with_signature(function: Any, other: Any) -> Any:
    """Return *function* with the signature of *other*, which is inspected to pass inputs by name."""

    def called(*values: Any, **inputs: Any) -> Any:
        return function(*values, **inputs)

    called.__signature__ = inspect.signature(other)  # type: ignore[attr-defined]  # read by inspect.signature
    return called
