"""What may go wrong with a model, in words."""

from __future__ import annotations

import os
import traceback


class ModelError(Exception):
    """What a person has to change before the model can be served; the message says it in words."""


class NotExportableError(Exception):
    """Why a model cannot be compiled to a package, in words; torch.compile may well serve it."""


def describe(error: BaseException, folder: str) -> str:
    """Say *error* in one line, with the place in the user's *folder* where it was raised."""
    first, *others = str(error).strip().split("\n")
    said = [line.strip() for line in others if "error: " in line][:1]  # a C++ compiler's own words
    text = ": ".join([type(error).__name__, *filter(None, [first]), *said])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if os.path.dirname(f.filename) == folder]
    if not folder or not frames:
        return text
    return f"{text} ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})"


def in_words(error: BaseException, folder: str) -> str:
    """Say *error* in one line: as it is, where it was written for people."""
    return str(error) if isinstance(error, (ModelError, NotExportableError)) else describe(error, folder)


def hint_for(error: BaseException) -> str:
    """Say what to do about an error of an import the text of which does not tell."""
    if "torchvision::" in str(error):
        return (
            "; its torchvision was built for another torch: for a CPU both come from PyTorch's index "
            "(pytorch-index, or --find-links with the wheel), or both from the package index (cuda: pypi)"
        )
    return ""
