"""How archives are called, and the folder that they go to. Imports nothing: every command needs it before it begins."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ENVS: Final = Path("envs")
"""The folder that archives go to."""
ARCHIVE: Final = re.compile(r"(?P<stem>.+)-(?P<digest>[0-9a-f]{12})(?P<suffix>\.tar\.gz|\.tar|)")
"""What an archive is called, and (without a suffix) the folder that one is unpacked into."""
