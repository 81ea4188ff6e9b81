from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.lint import Finding
from envbuilder.deployment.outcome import Deployment

DONE = Deployment(
    model="m",
    folder=Path("r/m"),
    layout="shared",
    environment=Path("envs/a.tar.gz"),
    environment_path="/envs/a.tar.gz",
    release="25.06",
    backend_folder=None,
    changed=True,
    removed=("old",),
    old_archives=(Path("envs/b.tar.gz"),),
    findings=(Finding(id="x", level="warning", message="slow", hint="be quick"),),
)


def test_what_was_done() -> None:
    assert DONE.lines() == [
        "m: r/m",
        "environment: /envs/a.tar.gz",
        "mount: envs at /envs in the server's container",
        "removed: old",
        "no longer used by any model: envs/b.tar.gz (--prune deletes it)",
        "warning: slow",
        "  hint: be quick",
    ]


def test_what_would_be_done() -> None:
    lines = replace(DONE, dry_run=True, replaced="/old\n", deleted=(Path("c"),)).lines()
    assert lines[0] == "m: r/m (dry run: nothing is written)"
    assert "would be replaced: the EXECUTION_ENV_PATH '/old\\n'" in lines
    assert "would be deleted: c" in lines


def test_a_backends_default_and_nothing_to_do() -> None:
    done = replace(DONE, environment_path=None, changed=False, environment=Path("backends/torch/a.tar.gz"))
    assert done.lines()[:2] == [
        "m: r/m (nothing to change)",
        "environment: backends/torch/a.tar.gz, the default of backend 'torch'",
    ]


def test_what_came_of_compiling() -> None:
    one = Compiled(
        version="1",
        device="CPU",
        file=Path("a/compiled.cpu.pt2"),
        reason=None,
        difference=0.00012,
        kept=False,
    )
    assert (
        one.line()
        == "compiled ahead of time (version 1, CPU): compiled.cpu.pt2, at most 0.00012 away from eager"
    )
    assert replace(one, kept=True).line().startswith("already compiled ahead of time")
    assert replace(one, file=None, reason="why").line() == "not compiled ahead of time (version 1, CPU): why"
    assert "why; with Inductor's caches" in replace(one, reason="why").line()
