from __future__ import annotations

from typing import cast

import pytest

from envbuilder.archive.segment import FileFacts, Segment
from envbuilder.assemble.shared_paths import SharedPaths, TwoOwnersError, expect_shared


class Listing:
    """What a segment says of its files."""

    def __init__(self, label: str, *files: str, omitted: tuple[str, ...] = (), content: str = "a") -> None:
        self.label = label
        self.files = tuple(self._file(path, content) for path in files)
        self.omitted = tuple(self._file(path, content) for path in omitted)

    def _file(self, path: str, content: str) -> FileFacts:
        return FileFacts(path=path, mode=0o644, size=1, sha256=content * 64)


def settle(shared: SharedPaths, listing: Listing) -> frozenset[str] | None:
    return shared.settle(cast(Segment, listing))


def test_a_path_goes_to_the_first_that_has_it() -> None:
    shared = SharedPaths()
    assert settle(shared, Listing("a", "x/__init__.py", "x/a.py")) is None
    again = Listing("b", "x/__init__.py", "x/__pycache__/__init__.pyc", "x/b.py")
    assert settle(shared, again) == frozenset({"x/__init__.py"})
    assert settle(shared, Listing("b", "x/b.py", omitted=("x/__init__.py",))) is None


def test_two_contents_of_one_path() -> None:
    shared = SharedPaths()
    settle(shared, Listing("a", "x.py", "x/__pycache__/x.pyc"))
    with pytest.raises(TwoOwnersError, match=r"^x\.py is in a and, with different content, in b"):
        settle(shared, Listing("b", "x/__pycache__/x.pyc", "x.py", content="b"))


def test_what_will_be_shared_as_far_as_is_known() -> None:
    listings = {"a": frozenset({"1", "2"}), "c": frozenset({"2", "3", "4"}), "d": frozenset({"4"})}
    assert expect_shared(listings, ["a", "b", "c", "d"], "c") == {"2"}
    assert expect_shared(listings, ["a", "b", "c", "d"], "a") == frozenset()
