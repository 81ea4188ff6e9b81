"""A distribution from outside that adds to the tool by entry points: really installed, as far as Python can tell."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, name: str, source: str, entry_points: dict[str, str]
) -> None:
    """Install the distribution *name* 1.0, whose one module has the *source*, into *folder*, which goes onto the path.

    *entry_points* is the attribute of the module that is named, by ``GROUP/NAME``.
    """
    module = name.replace("-", "_")
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = []
    for place, attribute in entry_points.items():
        group, _, entry = place.partition("/")
        lines.append(f"[{group}]\n{entry} = {module}:{attribute}\n")
    (information / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)  # of another test
    importlib.invalidate_caches()
