from __future__ import annotations

from pathlib import Path

from envbuilder import api
from envbuilder.recipe.load import load_recipe


def test_size_and_its_picture(locked: Path) -> None:
    archive = api.build(load_recipe(locked)).archive
    sizes = api.size(archive)
    assert sizes.packed == archive.stat().st_size
    api.plot_sizes(sizes, Path("a.svg"))
    assert Path("a.svg").read_text().startswith("<svg ")
