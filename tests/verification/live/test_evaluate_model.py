"""What a probe found of a model, as checks: of one that the runtime serves, and of one of the user's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.evaluate_model import ASK_A_SERVER, let_server_decide
from envbuilder.verification.live.inputs import Case, Questions
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.report import Check
from tests.helpers.environments import failures
from tests.helpers.probes import GOOD, judged, served


def test_empty_answers() -> None:
    assert failures(judged(served(empty=["y"]))) == {
        "probe.answers": (
            "empty outputs: y",
            "return as many values as the output's shape says",
        )
    }


@pytest.mark.parametrize("key", ["differs", "together"])
def test_other_answers_than_eager(key: str) -> None:
    text, fix = failures(judged(served(**{key: ["batch of 1: y differs from eager by up to 1"]})))[
        "probe.answers"
    ]
    assert text == "compiled outputs differ from eager: batch of 1: y differs from eager by up to 1"
    assert (
        fix
        == "compiled code may differ in the last digits only: does the model ask torch.compiler.is_compiling()?"
    )


def test_recompiles_are_a_warning() -> None:
    (check,) = [check for check in judged(served(recompiles=3)) if check.id == "probe.recompiles"]
    assert (check.status, check.found) == (
        "warning",
        "3 graphs were compiled by requests, in batches of 1, 2, 8",
    )
    assert (
        check.fix
        == 'make sizes dynamic with {"dynamic": true}, or list them in WARMUP; each compilation delays a request'
    )


def test_no_compiler_is_said() -> None:
    checks = judged(served(compiler=None, backend="aot_eager"))
    assert {c.id: c.found for c in checks}["probe.compile"] == (
        "no C++ compiler found: compiled by aot_eager, which needs none; loaded in 12.3 s"
    )


def test_the_users_own_triton_model() -> None:
    found = {c.id: c.found for c in judged(served(own=True, compiled=False), own=True)}
    assert found["probe.answers"] == (
        "batches of 1, 2, 8: the same in two calls; a custom TritonPythonModel has no eager form"
    )
    assert found["probe.compile"] == (
        "nothing for torch.compile to do (a custom TritonPythonModel); loaded in 12.3 s"
    )
    assert "probe.recompiles" not in found


FLOATS = Questions(cases=(), source="made up from config.pbtxt", names=("x",))


TEXTS = dataclasses.replace(FLOATS, narrow=True)


GIVEN = dataclasses.replace(TEXTS, made_up=False, source="x.npz")


STANDS_IN = "not known, because the probe only imitates Triton's module: "


OWN_FAILURES = [
    ("runtime", {}, FLOATS, "unknown", STANDS_IN + "its file cannot be imported in the probe: E: x"),
    ("compiled", {}, FLOATS, "unknown", STANDS_IN + "it does not load in the probe: E: x"),
    ("ended", {}, FLOATS, "unknown", STANDS_IN + "the probe did not reach its answers in the probe: E: x"),
    (
        "answer",
        {"inputs": "x float32[1]"},
        FLOATS,
        "unknown",
        STANDS_IN + "it does not answer in the probe: E: x",
    ),
    (
        "answer",
        {"inputs": "x strings[1]"},
        TEXTS,
        "unknown",
        "not known: the model rejects an input, which was made up from config.pbtxt (x strings[1]): E: x",
    ),
    ("answer", {"inputs": "x"}, GIVEN, "unknown", STANDS_IN + "it does not answer in the probe: E: x"),
    (
        "runtime",
        {"missing": "cv2"},
        FLOATS,
        "failed",
        "the environment has no module 'cv2', which the model imports: E: x",
    ),
    ("runtime", {"missing": "c_python_backend_utils"}, FLOATS, "unknown", STANDS_IN + "its file cannot be "),
]


@pytest.mark.parametrize(("stage", "more", "questions", "status", "text"), OWN_FAILURES)
def test_what_fails_of_an_own_model_is_not_known_until_a_server_has_said(
    stage: str, more: dict[str, str], questions: Questions, status: str, text: str
) -> None:
    answer = {key: value for key, value in GOOD.items() if key != "CPU"}
    failed = {"stage": stage, "text": "E: x", "trace": "…", **more}
    checks = judged({**answer, "failed": failed}, own=True, questions=questions)
    (check,) = [check for check in checks if check.status != "passed"]
    assert (check.id, check.status) == ("probe.model", status)
    assert check.found.startswith(text)
    assert check.fix is not None
    assert ("numpy.savez" in check.fix) is ("rejects an input" in text)

    own = DeployedModel(
        sandbox=Sandbox(root=Path("/x"), environment=Path("/x"), isolated=False),
        deployment=None,
        folder=Path("/x/m"),
        config=model_config_pb2.ModelConfig(name="m"),
        version="1",
        questions=questions,
    )
    ready = Check(id="server.start", status="passed", found="ready")
    unsure = Check(id="server.http", status="unknown", found="not known")
    answers = Check(id="server.grpc", status="failed", found="no answer")
    dead = Check(id="server.start", status="failed", found="it does not start")
    for said, decided in [
        ([], False),
        ([ready, unsure], False),
        ([ready, unsure, answers], True),
        ([dead], True),
    ]:
        place = [check]
        let_server_decide(place, [own], said)
        assert (place[0].status == "warning") is decided, said


def test_a_model_that_asks_what_is_not_in_reach_is_not_known() -> None:
    unknown = ["it calls the model 'z', which is not available"]
    for answer in (
        served(own=True),
        {**GOOD, "CPU": {}, "failed": {"stage": "answer", "text": "E", "trace": ""}},
    ):
        (check,) = [one for one in judged({**answer, "unknown": unknown}, own=True) if one.status != "passed"]
        assert (check.id, check.status, check.found) == ("probe.model", "unknown", f"not known: {unknown[0]}")


def test_a_name_from_a_generated_input_is_cured_by_an_input() -> None:
    for name, questions, fix in (
        (
            "envbuilder",
            TEXTS,
            "the name was made up from config.pbtxt, in an input: give inputs that the model",
        ),
        ("other", TEXTS, "name the repository"),
        ("envbuilder", GIVEN, "name the repository"),
    ):
        unknown = [f"it calls the model '{name}', which is not available"]
        answer = {**GOOD, "CPU": {}, "failed": {"stage": "answer", "text": "E", "trace": ""}}
        found = judged({**answer, "unknown": unknown}, own=True, questions=questions)
        (check,) = [one for one in found if one.status == "unknown"]
        assert check.fix is not None
        assert check.fix.startswith(fix)


def test_a_model_that_the_named_repository_lacks_is_not_asked_for_again() -> None:
    answer = {**GOOD, "CPU": {}, "failed": {"stage": "answer", "text": "E", "trace": ""}}
    unknown = ["it calls the model 'other', which is not available"]
    found = judged({**answer, "unknown": unknown}, own=True, whole=True)
    (check,) = [one for one in found if one.status == "unknown"]
    assert check.fix == f"add what it calls to the repository, or correct the name; and {ASK_A_SERVER}"


def test_what_is_expected_of_an_own_model_and_of_another() -> None:
    case = Case(label="1", inputs={}, expected=({},))
    asked = dataclasses.replace(GIVEN, cases=(case,))
    wrong: dict[str, Any] = {"questions": asked, "unexpected": ("y differs from expected by up to 1",)}
    found = {
        own: next(c for c in judged(served(own=own), own=own, **wrong) if c.id == "probe.expected")
        for own in (True, False)
    }
    assert (found[True].status, found[False].status) == ("unknown", "failed")
    assert (
        found[False].found
        == "answers differ from those that x.npz expects: y differs from expected by up to 1"
    )
    (right,) = [c for c in judged(GOOD, questions=asked) if c.id == "probe.expected"]
    assert (right.status, right.found) == ("passed", "the answers that x.npz expects")


def test_what_a_server_sends_as_it_is_fails_no_model_of_the_users_own() -> None:
    said = {
        "empty": "empty outputs: y",
        "undescribed": "outputs are not as config.pbtxt describes them: y",
        "missing": "outputs of config.pbtxt that the model does not send: y",
    }
    for key, text in said.items():
        found = {c.id: c for c in judged(served(own=True, **{key: ["y"]}), own=True)}["probe.answers"]
        assert (found.status, found.found) == ("unknown" if key == "missing" else "warning", text)
    found = {c.id: c for c in judged(served(own=True, finalize="OSError: x"), own=True)}["probe.model"]
    assert found.status == "warning"
    assert found.found.endswith("its finalize fails: OSError: x")


def test_a_name_that_the_release_lacks_is_told_with_the_one_that_has_it() -> None:
    error = "AttributeError: 'c_python_backend_utils.InferenceRequest' object has no attribute 'is_cancelled'"
    failed = {"stage": "answer", "text": error, "lacking": "InferenceRequest.is_cancelled", "inputs": "x"}
    (check,) = [c for c in judged({**GOOD, "CPU": {}, "failed": failed}, own=True) if c.status != "passed"]
    assert (check.id, check.status) == ("probe.names", "failed")
    assert check.found == (
        f"the model uses what Triton has since release 23.10, InferenceRequest.is_cancelled: {error}"
    )
    assert check.fix == "target release 23.10 or later, or let the model do without it where it is missing"


def test_a_model_that_is_not_ready_answers_and_is_told() -> None:
    found = {c.id: c for c in judged(served(own=True, not_ready="it says False"), own=True)}["probe.model"]
    assert found.status == "warning"
    assert found.found.endswith("; its is_ready fails: it says False")


def test_a_file_that_the_version_folder_lacks_is_no_package() -> None:
    failed = {"stage": "runtime", "text": "No module named '1.helper'", "missing": "1.helper"}
    (check,) = [c for c in judged({**GOOD, "CPU": {}, "failed": failed}, own=True) if c.status == "failed"]
    assert check.fix == "put that file into the version folder"


def test_a_model_that_refuses_what_was_made_up_is_told_how_to_be_asked() -> None:
    failed = {"stage": "eager", "text": "E: x", "trace": "…", "inputs": "x int64[1]"}
    (check,) = [
        c for c in judged({**GOOD, "CPU": {}, "failed": failed}, questions=TEXTS) if c.status != "passed"
    ]
    assert (check.id, check.status) == ("probe.model", "unknown")


def test_a_gpu_is_judged_too() -> None:
    found = {c.id: c.found for c in judged({**GOOD, "GPU": GOOD["CPU"]})}
    assert found["probe.compile-gpu"] == "compiled by inductor; loaded in 12.3 s on GPU"
    assert found["probe.answers-gpu"] == "batches of 1, 2, 8 on GPU: the same as eager"


@pytest.mark.parametrize("compiler", ["/usr/bin/g++", None])
def test_another_compiler_than_the_one_that_travels_along(compiler: str | None) -> None:
    assert failures(judged(served(compiler=compiler), compiler="bin/x-g++")) == {
        "probe.compile": (
            f"compiled by {compiler}, not by the environment's own bin/x-g++",
            "CXX is set in the server's environment: unset it",
        )
    }
