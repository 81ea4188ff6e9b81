"""Errors of envbuilder, each with the exit code of the command line."""

from __future__ import annotations


class EnvbuilderError(Exception):
    """Any other error.

    The base class of the errors below: ``message`` says what was found and where, ``hint`` what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


class RecipeError(EnvbuilderError):
    """A recipe, a setting or a command-line value is invalid."""

    exit_code = 2


class StaleLockError(EnvbuilderError):
    """The lock is out of date with its recipe."""

    exit_code = 3


class ResolveError(EnvbuilderError):
    """No set of artifacts satisfies the recipe."""

    exit_code = 4


class FetchError(EnvbuilderError):
    """A locked artifact could not be downloaded."""

    exit_code = 4


class IntegrityError(EnvbuilderError):
    """Content does not match its checksum in a lock, a manifest or the store."""

    exit_code = 5


class AssembleError(EnvbuilderError):
    """The artifacts cannot be assembled into an environment."""

    exit_code = 6


class VerifyError(EnvbuilderError):
    """A check of an archive failed."""

    exit_code = 7


class DeployError(EnvbuilderError):
    """A model directory or repository cannot be written."""

    exit_code = 8


class StoreError(EnvbuilderError):
    """A remote store cannot be read or written."""

    exit_code = 4


class PluginError(EnvbuilderError):
    """A plugin cannot be used."""

    exit_code = 1


class ClusterError(EnvbuilderError):
    """A cluster cannot be used, or was lost."""

    exit_code = 1
