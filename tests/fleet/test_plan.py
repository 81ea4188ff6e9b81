"""Which tasks archives need, each of them once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuilder.assemble.packing import tools
from envbuilder.base.interpreter import Interpreter
from envbuilder.building.record import build_key
from envbuilder.fleet.plan import Job, last_key, plan
from envbuilder.fleet.tasks import Terms, assemble_base, assemble_wheel, pack, verify
from tests.helpers.fleets import make_fleet

TERMS = Terms(tools={}, sharing=False)


@pytest.fixture
def job(tmp_path: Path, python311: Interpreter) -> Job:
    (made,) = make_fleet(tmp_path, python311, 1)
    return made


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


def test_packing_comes_after_the_base_and_every_wheel(job: Job, tmp_path: Path) -> None:
    nodes = plan([job], TERMS, tmp_path)
    last = nodes[last_key(job, TERMS)]
    assert (last.work, last.args) == (pack, (TERMS, job.recipe, job.lock, job.settings, tmp_path))
    assert [nodes[key].work for key in last.after] == [assemble_base, assemble_wheel, assemble_wheel]
    assert [nodes[key].args[1] for key in last.after[1:]] == list(job.lock.artifacts)
    assert job.key == build_key(job.recipe, job.lock, job.lock.interpreter)


def test_verification_is_the_last_where_it_is_asked_for(job: Job) -> None:
    terms = dataclasses.replace(TERMS, verify=True)
    nodes = plan([job], terms, None)
    last = nodes[last_key(job, terms)]
    assert (last.work, last.args) == (verify, (terms, job.recipe, job.settings, None))
    assert last.after == (last_key(job, TERMS),)
    assert last_key(job, terms) != last_key(job, TERMS)


CHANGES: dict[str, Callable[[Job], Job]] = {
    "rules": lambda job: dataclasses.replace(
        job,
        recipe=dataclasses.replace(job.recipe, pack=dataclasses.replace(job.recipe.pack, level=9)),
    ),
    "interpreter": lambda job: dataclasses.replace(
        job,
        lock=dataclasses.replace(
            job.lock, interpreter=dataclasses.replace(job.lock.interpreter, digest="9" * 64)
        ),
    ),
    "CUDA": lambda job: dataclasses.replace(job, lock=dataclasses.replace(job.lock, cuda="cu126")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_the_same_work_is_not_shared(job: Job, change: str) -> None:
    assert len(plan([job, CHANGES[change](job)], TERMS, None)) == 2 * len(plan([job], TERMS, None))


def test_the_same_job_twice_is_once(job: Job) -> None:
    assert plan([job, job], TERMS, None).keys() == plan([job], TERMS, None).keys()


def test_post_link_scripts_are_part_of_the_base(job: Job) -> None:
    scripted = dataclasses.replace(job, recipe=dataclasses.replace(job.recipe, link_scripts=("tool",)))
    kinds = [node.work for node in plan([job, scripted], TERMS, None).values()]
    assert kinds.count(assemble_base) == 2
