"""The version of this tool: it is part of every archive's key and of what the tool reports about itself."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
