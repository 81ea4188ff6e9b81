"""Which models of a repository are verified, and which are there for them to ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.errors import VerifyError
from envbuilder.verification.live.repository import wanted_models, with_those_it_names
from tests.helpers.own_models import FLOATS, ROUTER, SHOUT, SHOUTS, TWICE, write, write_repository


def names(paths: tuple[Path, ...]) -> list[str]:
    return sorted(path.name for path in paths)


def test_a_model_takes_along_those_that_it_names_and_those_that_they_name(tmp_path: Path) -> None:
    repository = write_repository(tmp_path / "models")
    assert names(with_those_it_names(repository / "router").others) == ["helper"]
    assert names(with_those_it_names(repository / "twice").others) == ["shout"]
    assert names(with_those_it_names(repository / "shout").others) == []
    chained = ROUTER.replace('"helper"', '"conductor"')
    write(repository, "first", chained, FLOATS)
    assert names(with_those_it_names(repository / "first").others) == ["conductor", "ticker"]


def test_a_name_in_a_parameter_counts_and_source_that_does_not_parse_is_looked_at(tmp_path: Path) -> None:
    parameter = 'parameters { key: "NEXT" value { string_value: "shout" } }\n'
    write(tmp_path, "shout", SHOUT, SHOUTS)
    by_parameter = write(tmp_path, "by-parameter", "x = 1\n", FLOATS + parameter)
    newer = write(tmp_path, "newer", "type X = ((\nname = 'shout'\n", FLOATS)
    assert names(with_those_it_names(by_parameter).others) == ["shout"]
    assert names(with_those_it_names(newer).others) == ["shout"]


def test_models_that_name_each_other_end(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        write(tmp_path, name, f"NEXT = {other!r}\n", FLOATS)
    assert names(with_those_it_names(tmp_path / "a").others) == ["b"]


def test_all_models_or_those_that_are_named(tmp_path: Path) -> None:
    write(tmp_path, "shout", SHOUT, SHOUTS)
    write(tmp_path, "twice", None, TWICE)
    (tmp_path / "no-model").mkdir()
    assert names(wanted_models(tmp_path, ()).models) == ["shout", "twice"]
    wanted = wanted_models(tmp_path, ("twice",))
    assert (names(wanted.models), names(wanted.others)) == (["twice"], ["shout"])
    with pytest.raises(VerifyError, match="contains no model 'thrice'") as caught:
        wanted_models(tmp_path, ("thrice",))
    assert caught.value.hint == "it has shout and twice"
    with pytest.raises(VerifyError, match="contains no model"):
        wanted_models(tmp_path / "no-model", ())
    with pytest.raises(VerifyError, match="cannot be read"):
        wanted_models(tmp_path / "nowhere", ())
