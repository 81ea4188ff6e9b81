"""Every error a user can meet, with the exit code of the command line."""

from __future__ import annotations


class EnvbuilderError(Exception):
    """An error with a message for a person: what was found, where, and (``hint``) what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


class RecipeError(EnvbuilderError):
    """A recipe, a setting or a command-line value cannot be understood."""

    exit_code = 2


class StaleLockError(EnvbuilderError):
    """The lock no longer belongs to its recipe."""

    exit_code = 3


class ResolveError(EnvbuilderError):
    """No set of artifacts fulfils the recipe."""

    exit_code = 4


class FetchError(EnvbuilderError):
    """A locked artifact could not be had."""

    exit_code = 4


class IntegrityError(EnvbuilderError):
    """Bytes differ from what a lock, a manifest or the store says of them."""

    exit_code = 5


class AssembleError(EnvbuilderError):
    """Artifacts do not make an environment."""

    exit_code = 6


class VerifyError(EnvbuilderError):
    """A check of an archive failed."""

    exit_code = 7


class DeployError(EnvbuilderError):
    """A model directory or repository cannot be written."""

    exit_code = 8


class StoreError(EnvbuilderError):
    """A store elsewhere cannot be read or written."""

    exit_code = 4


class PluginError(EnvbuilderError):
    """What another distribution adds to this tool cannot be used."""

    exit_code = 1


class ClusterError(EnvbuilderError):
    """A cluster cannot be used, or went away."""

    exit_code = 1
