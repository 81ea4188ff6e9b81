"""The error of a response, and the exception that a model raises."""

from __future__ import annotations

import enum

from ._arguments import text


class TritonModelException(Exception):
    """An exception of a model; Triton sends its text to the client, or logs it while a model loads."""


class ErrorCode(enum.IntEnum):
    """The code of an error. A member equals its number, but as in Triton no number is accepted in place of a member."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = range(8)


class TritonError:
    """The error of one response."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = ErrorCode

    def __init__(self, message: str | bytes, code: ErrorCode = ErrorCode.INTERNAL) -> None:
        if not isinstance(code, ErrorCode):
            raise TypeError(f"__init__(): incompatible constructor arguments: {type(code).__name__}")
        self._message, self._code = text("__init__", message), code

    def message(self) -> str:
        """Return the text."""
        return self._message

    def code(self) -> ErrorCode:
        """Return the error code."""
        return self._code
