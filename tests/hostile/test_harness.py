"""The harness sees what it is there to see."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.helpers.hostile import Outcome, Room, accepted, harmless, refused


def test_runs_the_command_line(room: Room) -> None:
    outcome = room.run("--version")
    accepted(outcome)
    assert outcome.stdout.startswith("envbuilder, version ")


def test_tells_code_and_first_line(room: Room) -> None:
    outcome = room.run("verify", "nothing.tar.gz")
    refused(outcome, 2, "Error: Invalid value for 'ARCHIVE': File 'nothing.tar.gz' does not exist.")


def test_limits_memory_of_the_run_alone(room: Room) -> None:
    archive = room.work / "zeros.tar.gz"
    archive.write_bytes(b"\x1f\x8b" + bytes(4 * 10**6))
    assert room.run("sbom", archive, memory=10**6).code != 5
    assert room.run("sbom", archive).code == 5


def test_names_what_was_written(room: Room) -> None:
    outcome = room.run("init", "demo")
    assert outcome.code == 0, str(outcome)
    (written, *_) = [path for path in outcome.changed if path.endswith(".yaml")]
    with pytest.raises(AssertionError, match="written: "):
        accepted(outcome)
    accepted(outcome, may_write=[written.split("/")[0]])


_QUIET = Outcome(
    arguments=("verify",),
    code=0,
    stdout="",
    stderr="",
    seconds=0.1,
    seconds_to_end=0.0,
    memory=1,
    late=False,
    running=(),
    changed=(),
)


@pytest.mark.parametrize(
    "change",
    [
        {"stderr": "Traceback (most recent call last):\n"},
        {"stdout": "\x1b[2J"},
        {"stderr": "a\x9bb"},
        {"stdout": "a\u202eb"},
        {"stdout": "a\udcffb"},
        {"stdout": "a\rb"},
        {"late": True},
        {"running": ("sleep 5",)},
        {"changed": ("work/x",)},
        {"changed": ("store/tmp/fetch-1/artifact",)},
        {"changed": ("out/.manifest.json.17",)},
    ],
)
def test_objects_to_what_no_run_may_do(change: dict[str, object]) -> None:
    harmless(_QUIET, may_write=["out"])
    with pytest.raises(AssertionError):
        harmless(dataclasses.replace(_QUIET, **change), may_write=["out"])  # type: ignore[arg-type]  # by name


def test_ends_what_takes_too_long(room: Room) -> None:
    outcome = room.run("--version", seconds=0.0)
    assert outcome.late
    assert outcome.code == -9


def test_first_line_may_be_a_pattern() -> None:
    refused(dataclasses.replace(_QUIET, code=5, stderr="error: x\n"), 5, re.compile("error: ."))
