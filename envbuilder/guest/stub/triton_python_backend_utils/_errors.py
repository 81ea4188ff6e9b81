"""Errors: of one response, and what a model raises."""

from __future__ import annotations

import enum


class TritonModelException(Exception):
    """What a model raises; Triton tells it to the client, or to the log while a model loads."""


class ErrorCode(enum.IntEnum):
    """The kind of an error; it equals its number, which as in Triton does not stand for it."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)


class TritonError:
    """The error of one response."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = ErrorCode

    def __init__(self, message: str, code: ErrorCode = ErrorCode.INTERNAL) -> None:
        for given, kind in ((message, str), (code, ErrorCode)):
            if not isinstance(given, kind):
                raise TypeError(f"__init__(): incompatible constructor arguments: {type(given).__name__}")
        self._message, self._code = message, code

    def message(self) -> str:
        """Return the text."""
        return self._message

    def code(self) -> ErrorCode:
        """Return the kind of error."""
        return self._code
