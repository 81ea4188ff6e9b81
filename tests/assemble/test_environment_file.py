from __future__ import annotations

import json

from envbuilder.archive.segment import Excluded
from envbuilder.assemble.environment_file import environment_entry, sum_excluded


def test_the_variables_of_an_environment_and_of_its_compiler() -> None:
    entry = environment_entry({"CC": "bin/gcc"})
    assert entry.data is not None
    assert json.loads(entry.data) == {"variables": {"CONDA_PREFIX": "{prefix}", "CC": "{prefix}/bin/gcc"}}


def test_what_was_left_out_is_summed_by_pattern_the_largest_first() -> None:
    found = sum_excluded(
        [
            Excluded(pattern="*.a", files=1, size=10),
            Excluded(pattern="*.h", files=2, size=30),
            Excluded(pattern="*.a", files=3, size=25),
        ]
    )
    assert [(one.pattern, one.files, one.size) for one in found] == [("*.a", 4, 35), ("*.h", 2, 30)]
