from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import ResolveError
from envbuilder.fleet.patching.rows import PatchedRecipe, label, relative


def test_what_happened_is_in_one_cell_and_the_newest_archive_in_another() -> None:
    row = PatchedRecipe(
        recipe="small",
        state="still affected",
        found=("beta 1.0", "zlib 1.2 in pillow"),
        changes=("beta 1.0 -> 1.1",),
        before=Path("envs/small-1.tar.gz"),
        archive=Path("envs/small-2.tar.gz"),
        aliases=("small:stable",),
        models=("own0", "own1"),
        images=("oci://x/y:z",),
        notes=("not looked inside",),
        error=ResolveError("zlib\n stays", hint="loosen it"),
    )
    assert row.cells() == (
        "small",
        "still affected",
        "beta 1.0, zlib 1.2 in pillow",
        "beta 1.0 -> 1.1; zlib stays (loosen it); not looked inside",
        "small-2.tar.gz",
        "small:stable",
        "own0, own1",
        "oci://x/y:z",
    )


def test_a_row_of_which_little_is_known() -> None:
    row = PatchedRecipe(recipe="small", state="affected", before=Path("envs/small-1.tar.gz"))
    assert row.cells()[4] == "small-1.tar.gz"
    assert PatchedRecipe(recipe="x", state="refused", error=ResolveError("why")).cells()[3:5] == ("why", "-")


def test_a_recipe_is_called_by_its_name_or_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (Path("recipes/small.yaml"), tmp_path / "recipes" / "small.yaml"):
        assert label(path) == "small"
    assert label(tmp_path / "models" / "net" / "recipe.yaml") == "models/net/recipe.yaml"
    assert label(Path("/elsewhere/recipes/small.yaml")) == "/elsewhere/recipes/small.yaml"
    assert relative(Path("envs/../x")) == "x"
    assert relative(tmp_path.parent) == str(tmp_path.parent)
