"""The names of archives, and their default folder. Imports nothing, because every command needs it at start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ENVS: Final = Path("envs")
"""The default folder for archives."""
ARCHIVE: Final = re.compile(r"(?P<stem>.+)-(?P<digest>[0-9a-f]{12})(?P<suffix>\.tar\.gz|\.tar|)")
"""The name of an archive, and without the suffix of the folder into which it is unpacked."""
