"""The server's log, each line with the model's name."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils


class Log:
    """A model's messages in the server's log."""

    def __init__(self, name: str) -> None:
        self._name = name

    def info(self, text: str) -> None:
        """Log an informational message."""
        pb_utils.Logger.log_info(f"{self._name}: {text}")

    def warn(self, text: str) -> None:
        """Log a warning."""
        pb_utils.Logger.log_warn(f"{self._name}: {text}")

    def verbose(self, text: str) -> None:
        """Log verbosely (``--log-verbose``)."""
        pb_utils.Logger.log_verbose(f"{self._name}: {text}")
