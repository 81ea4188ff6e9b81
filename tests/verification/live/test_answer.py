"""The answer of a probe, which code of an archive may have written."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from envbuilder.util.documents import DocumentError, parse_json
from envbuilder.verification.live.answer import check_answer
from tests.helpers.probes import GOOD

WHOLE: dict[str, Any] = {
    **GOOD,
    "numpy": "1.26.4",
    "unknown": ["it calls the model 'x'"],
    "failed": {"stage": "answer", "text": "E: x\n", "missing": "", "inputs": "", "otherwise": False},
    "CPU": {
        **GOOD["CPU"],
        "missing": [],
        "undescribed": [],
        "finalize": "OSError:\n x",
    },
    "GPU": {},
}


def checked(answer: Any) -> Any:
    return check_answer(parse_json(json.dumps(answer).encode(), where="the answer"))


def test_what_a_probe_writes_is_taken_as_it_is() -> None:
    assert checked(WHOLE) == WHOLE
    assert checked(GOOD) == GOOD
    least = {"conditions": GOOD["conditions"]}
    assert checked(least) == least


def put(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(answer: dict[str, Any]) -> None:
        *folders, last = path.split(".")
        inner: Any = answer
        for one in folders:
            inner = inner[one]
        inner[last] = value

    return change


MANY = ["x"] * 10_001
WRONG: list[tuple[str, object]] = [
    ("conditions", None),
    ("conditions.python", 3),
    ("conditions.locale", "C\x1b[31m"),
    ("torch.version", None),
    ("torch.seconds", "1"),
    ("torch.devices", [1]),
    ("torch.devices", MANY),
    ("numpy", 1),
    ("imported", "x"),
    ("modules", "x"),
    ("libraries", MANY),
    ("child.output", []),
    ("child.returncode", 0),
    ("failed.stage", 1),
    ("failed.text", None),
    ("failed.otherwise", "no"),
    ("unknown", [1]),
    ("GPU", []),
    ("CPU.own", "yes"),
    ("CPU.responses", ["1"]),
    ("CPU.responses", [1] * 10_001),
    ("CPU.shapes", []),
    ("CPU.shapes", {"y": ["x"]}),
    ("CPU.shapes", {"y\n": [1]}),
    ("CPU.cases", [1]),
    ("CPU.together", "x"),
    ("CPU.differs", MANY),
    ("CPU.missing", [None]),
    ("CPU.finalize", 1),
    ("CPU.recompiles", "0"),
    ("CPU.graphs", 1.5),
    ("CPU.compiled", None),
    ("CPU.load_seconds", "1"),
    ("CPU.backend", None),
    ("CPU.compiler", 1),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=[f"{path}-{str(value)[:9]}" for path, value in WRONG])
def test_what_is_of_another_kind_is_named(path: str, value: object) -> None:
    answer = copy.deepcopy(WHOLE)
    put(path, value)(answer)
    with pytest.raises(DocumentError) as raised:
        checked(answer)
    assert raised.value.path.startswith(path)


@pytest.mark.parametrize("name", ["responses", "shapes", "differs", "empty", "recompiles", "backend"])
def test_once_a_model_has_answered_all_of_it_is_known(name: str) -> None:
    answer = copy.deepcopy(WHOLE)
    del answer["CPU"][name]
    with pytest.raises(DocumentError) as raised:
        checked(answer)
    assert raised.value.path == f"CPU.{name}"
    del answer["CPU"]["cases"]
    checked(answer)
