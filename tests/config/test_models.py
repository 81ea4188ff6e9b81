from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.config.models import Choice, read_rules
from envbuilder.errors import RecipeError

TABLE = """\
[models]
"resnet-old" = {layout = "shared"}
"resnet-*" = {recipe = "resnet", layout = "backend", precompile = true}
"*" = "cpu"
"""


def test_the_first_line_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "envbuilder.toml").write_text(TABLE)
    rules = read_rules(tmp_path)
    assert rules.root == tmp_path
    assert rules.of("resnet-50") == Choice(recipe="resnet", layout="backend", precompile=True)
    assert rules.of("resnet-old") == Choice(recipe="resnet", layout="shared", precompile=True)
    assert rules.of("bert") == Choice(recipe="cpu", layout="model", precompile=False)


def test_lines_that_match_no_model(tmp_path: Path) -> None:
    (tmp_path / "envbuilder.toml").write_text(TABLE)
    rules = read_rules(tmp_path)
    assert rules.unmatched(["resnet-50", "bert"]) == ["resnet-old"]
    assert rules.unmatched([]) == ["resnet-old", "resnet-*", "*"]


def test_the_first_folder_whose_file_has_the_table(tmp_path: Path) -> None:
    for name, text in (("a", "timeout = 5\n"), ("b", TABLE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "envbuilder.toml").write_text(text)
    assert read_rules(tmp_path / "a", tmp_path / "b").root == tmp_path / "b"
    assert read_rules(tmp_path / "a").of("x") == Choice(recipe=None, layout="model", precompile=False)


@pytest.mark.parametrize(
    ("line", "said"),
    [("a = 1", "models.a"), ("a = {recipes = 'x'}", "recipes"), ("a = {precompile = 1}", "precompile")],
)
def test_what_cannot_be_said(line: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "envbuilder.toml").write_text(f"[models]\n{line}\n")
    with pytest.raises(RecipeError, match=said) as caught:
        read_rules(tmp_path)
    assert caught.value.hint is not None
