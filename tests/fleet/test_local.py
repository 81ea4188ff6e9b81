"""A graph of tasks on this machine's cores."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuilder.assemble.packing import tools
from envbuilder.base.interpreter import Interpreter
from envbuilder.config.settings import Settings
from envbuilder.errors import ClusterError
from envbuilder.fleet.local import run_here
from envbuilder.fleet.plan import Node, plan
from envbuilder.fleet.tasks import Terms
from envbuilder.store.local import CACHE_VARIABLE
from tests.helpers.fleets import make_fleet


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "store"))


def node(key: str, work: Callable[..., Any], *args: object, after: tuple[str, ...] = ()) -> Node:
    return Node(key=key, weight=0, work=work, args=args, settings=Settings(), after=after)


def test_a_task_is_done_after_those_it_needs_and_is_given_their_results() -> None:
    nodes = [
        node("sum", max, 1, after=("length", "power")),
        node("power", pow, 2, after=("length",)),
        node("length", len, "abc"),
    ]
    done: list[tuple[str, Any]] = list(run_here({one.key: one for one in nodes}, workers=2))
    assert done == [("length", 3), ("power", 8), ("sum", 8)]


def test_what_a_task_raises_is_raised_and_nothing_runs_on() -> None:
    with pytest.raises(ZeroDivisionError):
        list(run_here({"a": node("a", divmod, 1, 0)}))
    assert multiprocessing.active_children() == []


def test_an_interrupt_ends_the_processes_too(tmp_path: Path, python311: Interpreter) -> None:
    nodes = plan(make_fleet(tmp_path, python311, 3), Terms(tools=tools(), sharing=False), tmp_path / "envs")
    results = run_here(nodes)
    next(results)
    results.close()
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as raised:
        list(run_here({"die": node("die", os._exit, 3)}))
    assert raised.value.message == "a process that built died"


@pytest.mark.parametrize("guard", ["", 'if __name__ == "__main__":\n    '])
def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path, guard: str) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from envbuilder.config.settings import Settings\n"
        "from envbuilder.fleet.local import run_here\n"
        "from envbuilder.fleet.plan import Node\n"
        "given = {'key': 'a', 'weight': 0, 'work': len, 'args': ('abc',), 'settings': Settings()}\n"
        f"{guard}print(list(run_here({{'a': Node(**given)}})))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    if guard:
        assert (done.returncode, done.stdout) == (0, "[('a', 3)]\n")
    else:
        said = done.stderr.splitlines()
        assert said[-2].endswith("ClusterError: a process that was to build ended as it began")
        assert said[-1].startswith('  hint: put what mine.py does below `if __name__ == "__main__":`; ')
