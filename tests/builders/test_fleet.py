"""Many recipes on this machine's cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuilder.build import build, tools
from envbuilder.builders.fleet import build_many
from envbuilder.builders.graph import plan
from envbuilder.builders.tasks import Terms, assemble_base, assemble_wheel, pack
from envbuilder.resolve.interpreter import Interpreter
from envbuilder.store import CACHE_VARIABLE, Store
from tests.builders.fleets import make_fleet
from tests.notes import Notes


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def test_what_recipes_have_in_common_is_one_task(tmp_path: Path, python311: Interpreter) -> None:
    nodes = plan(make_fleet(tmp_path, python311, 5), Terms(tools=tools(), sharing=False), tmp_path)
    kinds = [node.work for node in nodes.values()]
    assert [kinds.count(work) for work in (assemble_base, assemble_wheel, pack)] == [1, 1 + 5, 5]
    seen: set[str] = set()
    for node in nodes.values():
        assert set(node.after) <= seen
        seen.add(node.key)
    weights = [node.weight for node in nodes.values() if node.work is not pack]
    assert weights == sorted(weights, reverse=True)


def test_the_same_bytes_as_one_by_one(tmp_path: Path, python311: Interpreter) -> None:
    jobs = make_fleet(tmp_path, python311, 3)
    outcomes = build_many(jobs, output=tmp_path / "envs")
    assert [(outcome.recipe, outcome.state) for outcome in outcomes] == [
        (f"fleet{number}", "built") for number in range(3)
    ]
    for job, outcome in zip(jobs, outcomes, strict=True):
        alone = build(
            job.recipe,
            job.lock,
            output=tmp_path / "alone",
            settings=job.settings,
            store=Store.open(tmp_path / "another"),
        )
        assert outcome.sha256 == alone.sha256
        assert outcome.archive == tmp_path / "envs" / alone.archive.name
        assert outcome.archive.is_file()
    assert [outcome.state for outcome in build_many(jobs, output=tmp_path / "envs")] == ["already there"] * 3


def test_what_goes_wrong_with_one_is_its_own(tmp_path: Path, python311: Interpreter) -> None:
    jobs = make_fleet(tmp_path, python311, 3)
    (tmp_path / "wheels" / "own1-1.0-py3-none-any.whl").unlink()
    notes = Notes()
    first, second, third = build_many(jobs, output=tmp_path / "envs", reporter=notes)
    assert (first.state, third.state) == ("built", "built")
    assert second.state == "refused"
    assert second.failure is not None
    assert second.failure.message.startswith("own1-1.0-py3-none-any.whl (sha256 ")
    assert second.failure.exit_code == 4
    assert second.row()[2].endswith("(envbuilder doctor says which sources answer)")
