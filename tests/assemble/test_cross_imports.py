"""What artifacts import from each other that rules would leave out."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from envbuilder.archive.kept import Kept
from envbuilder.assemble.assembler import Listing
from envbuilder.assemble.cross_imports import Names, Wanted, settle_wanted

SITE = "lib/python3.11/site-packages"


def listing(name: str, *, wants: Names | None = None, stdlib: Names | None = None) -> Listing:
    return Listing(
        paths=frozenset({f"{SITE}/{name}/__init__.py"}),
        kept=Kept(wants=wants or {}, stdlib=stdlib or {}),
        left_out=frozenset({f"{SITE}/{name}/tests/__init__.py", f"{SITE}/{name}/tests/helper.py"}),
    )


def settled(
    *listings: Listing, conda: bool = False, again: Mapping[str, Listing] | None = None
) -> tuple[Wanted, list[tuple[str, Names]]]:
    named = {next(iter(one.paths)).split("/")[3]: one for one in listings}
    relisted: list[tuple[str, Names]] = []

    def relist(name: str, wanted: Names) -> Listing:
        relisted.append((name, dict(wanted)))
        return (again or {}).get(name, named[name])

    return settle_wanted(named, "3.11", conda, relist), relisted


def test_nothing_is_wanted() -> None:
    assert settled(listing("a"), listing("b")) == (Wanted(), [])


def test_one_wants_of_another() -> None:
    names = {"b.tests": "a", "b.tests.helper": "a", "b.tests.helper.run": "a"}
    wanted = {"b.tests": "a", "b.tests.helper": "a"}
    found, relisted = settled(listing("a", wants=names), listing("b"))
    assert found == Wanted(wheels={"b": wanted})
    assert relisted == [("b", wanted)]


def test_what_is_kept_wants_more() -> None:
    again = {"b": listing("b", wants={"c.tests": "b.tests"})}
    found, _ = settled(listing("a", wants={"b.tests": "a"}), listing("b"), listing("c"), again=again)
    assert found.wheels == {"b": {"b.tests": "a"}, "c": {"c.tests": "b.tests"}}


@pytest.mark.parametrize("conda", [False, True])
def test_what_no_wheel_has_is_the_bases(conda: bool) -> None:
    one = listing("a", wants={"absent.tests": "a", "b.more": "a"}, stdlib={"turtle": "a"})
    found, _ = settled(one, listing("b"), conda=conda)
    packages = {"absent.tests": "a"} if conda else {}
    assert found == Wanted(base={"turtle": "a", **packages})
