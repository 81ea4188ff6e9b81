"""The version of this tool: it decides an archive's bytes, and goes into what the tool says of itself."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
