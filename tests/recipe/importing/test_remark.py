from __future__ import annotations

from envbuilder.recipe.importing.remark import Said

SAID = Said(text="https://me:secret@example.com/a", place="requirements.txt:3")


def test_what_became_of_a_line_is_told_without_credentials() -> None:
    told = [SAID.carried(), SAID.changed("how"), SAID.left_out("why")]
    assert [(one.fate, one.why) for one in told] == [
        ("carried over", ""),
        ("changed", "how"),
        ("left out", "why"),
    ]
    assert all("secret" not in str(one) for one in told)
    assert str(told[2]).startswith("requirements.txt:3: https://")
    assert str(told[2]).endswith(": why")
