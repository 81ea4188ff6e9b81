from __future__ import annotations

import pytest

from envbuilder.archive.called import ARCHIVE


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("small-0123456789ab.tar.gz", ("small", "0123456789ab", ".tar.gz")),
        ("a-b-0123456789ab.tar", ("a-b", "0123456789ab", ".tar")),
        ("small-0123456789ab", ("small", "0123456789ab", "")),
        ("small-0123456789AB.tar", None),
        ("small-0123456789ab.zip", None),
        ("0123456789ab.tar", None),
    ],
)
def test_a_name_tells_recipe_and_content(name: str, parts: tuple[str, str, str] | None) -> None:
    found = ARCHIVE.fullmatch(name)
    assert (None if found is None else found.group("stem", "digest", "suffix")) == parts
