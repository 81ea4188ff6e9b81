from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from envbuilder.archive.elf import ElfFacts, read_elf
from envbuilder.verification.static.linking import Linking, host_runpaths, is_newer, read_linking


def facts(**values: object) -> ElfFacts:
    with Path(sys.executable).resolve().open("rb") as file:
        found = read_elf(file)
    assert found is not None
    own = {"runpath": (), "provides_glibcxx": False, **values}
    return dataclasses.replace(found, **own)  # type: ignore[arg-type]  # a test's own values


def test_the_highest_version_and_the_first_file_that_asks_it() -> None:
    files = {
        "lib/b.so": facts(glibc="2.28", glibcxx="3.4.9"),
        "lib/a.so": facts(glibc="2.28", glibcxx=None),
        "lib/libstdc++.so.6": facts(glibc="2.4", glibcxx="3.4.30", provides_glibcxx=True),
    }
    linking = Linking(files=files, libstdcxx=None)
    assert linking.highest_glibc() == ("2.28", "lib/a.so")
    assert linking.highest_glibcxx() == ("3.4.9", "lib/b.so")
    assert Linking(files={}, libstdcxx=None).highest_glibc() is None


@pytest.mark.parametrize(("one", "other", "newer"), [("2.9", "2.28", False), ("3.4.30", "3.4.9", True)])
def test_versions_are_compared_by_their_numbers(one: str, other: str, newer: bool) -> None:
    assert is_newer(one, other) is newer


def test_runpaths_that_lead_to_the_machine_that_built_it() -> None:
    files = {"lib/a.so": facts(runpath=("$ORIGIN/../x", "/usr/lib", "/home/me/lib"))}
    assert list(host_runpaths(Linking(files=files, libstdcxx=None))) == [("lib/a.so", "/home/me/lib")]
    assert read_linking(Path("/nowhere"), {}) == Linking(files={}, libstdcxx=None)
