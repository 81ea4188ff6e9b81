"""Errors of a model, and their messages."""

from __future__ import annotations

import os
import traceback


class ModelError(Exception):
    """A model cannot be served; the message says what to change."""


class NotExportableError(Exception):
    """A model cannot be compiled to a package, for the reason in the message; torch.compile may still serve it."""


def describe(error: BaseException, folder: str) -> str:
    """Describe *error* in one line, with the line of the user's *folder* where it was raised."""
    first, *others = str(error).strip().split("\n")
    said = [line.strip() for line in others if "error: " in line][:1]  # the C++ compiler's output
    text = ": ".join([type(error).__name__, *filter(None, [first]), *said])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.dirname(f.filename) == folder]
    if not folder or not frames:
        return text
    return f"{text} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"


def in_words(error: BaseException, folder: str) -> str:
    """Describe *error* in one line; a ModelError's message is used as it is."""
    return str(error) if isinstance(error, (ModelError, NotExportableError)) else describe(error, folder)


def hint_for(error: BaseException) -> str:
    """Return a hint for an import error whose text does not say what to do; empty if there is none."""
    if "torchvision::" in str(error):
        return (
            "; its torchvision was built for another torch: for a CPU both come from PyTorch's index "
            "(pytorch-index, or --find-links with the wheel), or both from the package index (cuda: pypi)"
        )
    return ""
