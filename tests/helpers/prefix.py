"""A base as a folder, for what runs or packs one."""

from __future__ import annotations

import shutil
from pathlib import Path

from envbuilder.archive.exclude import PackRules
from envbuilder.base.cpython import lay_out_base
from envbuilder.base.interpreter import Interpreter
from envbuilder.base.provider import Base


def lay_out_prefix(interpreter: Interpreter, folder: Path, rules: PackRules) -> Base:
    """Lay a base out, and put beside what was copied what was not, so that *folder* is a whole prefix."""
    base = lay_out_base(interpreter, folder, rules)
    for entry in base.entries:
        place = folder / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry.link is not None:
            place.symlink_to(entry.link)
        elif entry.source not in (None, place):
            shutil.copyfile(str(entry.source), place)
            place.chmod(entry.mode)
    return base
