"""Errors: of one response, and what a model raises."""

from __future__ import annotations


class TritonModelException(Exception):
    """What a model raises; Triton tells it to the client, or to the log while a model loads."""


class TritonError:
    """The error of one response."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)

    def __init__(self, message: str, code: int = 1) -> None:
        if not isinstance(message, str):
            raise TypeError(f"__init__(): incompatible constructor arguments: {type(message).__name__}")
        self._message, self._code = message, code

    def message(self) -> str:
        """Return the text."""
        return self._message

    def code(self) -> int:
        """Return the kind of error."""
        return self._code
