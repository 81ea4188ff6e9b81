"""The server's log: each line of a model bears its name."""

from __future__ import annotations

from typing import Any

from tests.helpers.runtime import load_runtime


def test_each_line_bears_the_models_name_and_its_level(pb: Any) -> None:
    log = load_runtime().runtime_module("log").Log("net")
    log.info("ready")
    log.warn("slow")
    log.verbose("details")
    assert pb.Logger.lines == [
        ("info", "net: ready"),
        ("warn", "net: slow"),
        ("verbose", "net: details"),
    ]


def test_two_models_of_a_process_do_not_mix(pb: Any) -> None:
    kind = load_runtime().runtime_module("log").Log
    one, two = kind("one"), kind("two")
    one.info("a")
    two.info("b")
    assert [text for _, text in pb.Logger.lines] == ["one: a", "two: b"]
