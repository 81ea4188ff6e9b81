from __future__ import annotations

from envbuilder.recipe.importing.remark import Said
from envbuilder.recipe.importing.wanted import Wanted

HERE = Said(text="x", place="file:1")


def test_requirements_and_what_is_none() -> None:
    wanted = Wanted()
    wanted.require(HERE, "Alpha_A>=1")
    wanted.require(HERE, "no requirement!")
    assert wanted.names() == {"alpha-a"}
    assert [one.fate for one in wanted.remarks] == ["left out"]


def test_a_constraint_says_a_version() -> None:
    wanted = Wanted()
    for text in ("beta<2", "beta @ https://example.com/beta.whl", "?"):
        wanted.constrain(HERE, text)
    assert [str(requirement) for _, requirement in wanted.constraints] == ["beta<2"]
    assert len(wanted.remarks) == 2
    assert wanted.names() == set()
