from __future__ import annotations

from envbuilder.recipe.importing.remark import SourceLine, one_fate

SAID = SourceLine(text="https://me:secret@example.com/a", place="requirements.txt:3")


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


def test_a_line_has_one_fate() -> None:
    one, two = SourceLine(text="a", place="x:1"), SourceLine(text="b", place="x:1")
    whole = SourceLine(text="", place="x")
    found = one_fate(
        [
            one.left_out("not for Linux"),
            one.carried(),
            one.changed("first"),
            one.changed("second"),
            two.left_out("gone"),
            two.left_out("and gone"),
            whole.changed("that"),
            whole.changed("this"),
        ],
        [one.changed("noted"), two.changed("noted"), SourceLine(text="c", place="x:1").changed("noted")],
    )
    assert [f"{remark.fate}: {remark.text}: {remark.why}" for remark in found] == [
        "changed: : that",
        "changed: : this",
        "changed: a: noted; first; second",
        "left out: b: gone; and gone",
    ]
    assert [remark.fate for remark in one_fate([one.carried()], [])] == ["carried over"]
