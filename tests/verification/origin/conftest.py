from __future__ import annotations

from pathlib import Path

from envbuilder.archive.extract import Contents, extract
from tests.helpers.environments import Tree, pack


def extracted(tree: Tree, folder: Path) -> tuple[Contents, Path]:
    """Return what the archive of *tree* holds, and the folder where it was extracted."""
    folder.mkdir(exist_ok=True)
    archive = pack(tree, folder)
    return extract(archive, folder / "environment"), folder / "environment"
