"""What a server's answers are judged to be."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from envbuilder.errors import VerifyError
from envbuilder.guest.answers import Answer
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.run_probe import DeployedModel
from envbuilder.verification.report import Check
from envbuilder.verification.server import client
from envbuilder.verification.server.tritonserver import RunningServer, TritonServer
from tests.helpers.environments import failures
from tests.helpers.serving import Quiet, checks_of_server


@dataclass(frozen=True, kw_only=True, slots=True)
class Dead(TritonServer):
    """A server that does not get ready."""

    @contextlib.contextmanager
    def start(self, *_: Any, **__: Any) -> Iterator[RunningServer]:
        yield from self.die()

    def die(self) -> Iterator[RunningServer]:
        raise VerifyError("it died", hint="why")


def hold(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Any,
    *,
    kind: type[TritonServer] = Quiet,
    together: Any = lambda *_: ([], 1),
    whole: bool = False,
    **options: Any,
) -> list[Check]:
    """Let both clients answer with *answer* of the batch size."""

    def ask(_running: RunningServer, _subject: DeployedModel, inputs: sample.Inputs) -> Answer:
        return [{"y": answer(len(inputs["x"]))}]

    monkeypatch.setattr(client, "ask_http", ask)
    monkeypatch.setattr(client, "ask_grpc", ask)
    monkeypatch.setattr(client, "ask_together", together)
    server = kind(binary=Path("/x"), backends=folder, stubs={}, release="pytriton-0.7.0")
    asking = replace(checks_of_server(folder, server, **options), whole=whole)
    return list(asking.run(folder / "log", 1).checks)


def right(size: int) -> Any:
    return np.full((size, 2), 3, np.float32)


def empty(size: int) -> Any:
    return client.LOST


def test_right_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, right)
    assert [(check.id, check.status) for check in checks] == [
        ("server.start", "passed"),
        ("server.http", "passed"),
        ("server.grpc", "passed"),
    ]
    assert checks[0].found.endswith(" s after its start: pytriton-0.7.0 (Triton 2.51.0, release 24.10)")
    assert checks[1].found == "answers by http for batches of 1, 3, 4, the same as eager torch"


@pytest.mark.parametrize(("silent", "seconds"), [(False, 120), (True, 15)])
def test_how_long_clients_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: bool, seconds: float
) -> None:
    """Not long for what did not answer in the probe."""
    waited = []

    def ask(running: RunningServer, _: DeployedModel, inputs: sample.Inputs) -> Answer:
        waited.append(running.patience)
        return [{"y": right(len(inputs["x"]))}]

    for name in ("ask_http", "ask_grpc"):
        monkeypatch.setattr(client, name, ask)
    server = Quiet(binary=Path("/x"), backends=tmp_path, stubs={})
    checks = checks_of_server(tmp_path, server)
    subjects = [replace(one, silent=silent) for one in checks.subjects()]
    replace(checks, subjects=lambda: subjects).run(tmp_path / "log", 1)
    assert set(waited) == {seconds}


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        InferenceServerException("no response within 15 s; 1 came before, none of them final"),
        InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED"),
        TimeoutError("timed out"),
    ],
)
def test_a_model_that_never_answers_fails_whatever_it_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: bool, error: Exception
) -> None:
    def ask(*_: Any) -> Answer:
        raise error

    for name in ("ask_http", "ask_grpc"):
        monkeypatch.setattr(client, name, ask)
    server = Quiet(binary=Path("/x"), backends=tmp_path, stubs={})
    checks = checks_of_server(tmp_path, server, own=True, probed=None)
    subjects = [replace(one, silent=silent) for one in checks.subjects()]
    grpc = replace(checks, subjects=lambda: subjects).run(tmp_path / "log", 1).checks[-1]
    assert (grpc.id, grpc.status == "failed") == ("server.grpc", silent or isinstance(error, TimeoutError))
    assert ("within 15 s, nor any in the probe" in grpc.found) is silent
    if silent:
        assert "TRITONSERVER_RESPONSE_COMPLETE_FINAL" in str(grpc.fix)


def test_wrong_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, fix = failures(hold(tmp_path, monkeypatch, lambda size: right(size) + (size == 3)))["server.grpc"]
    assert text == "answers differ from those of eager torch: batch of 3: y differs from eager by up to 1"
    assert fix == "the same model, environment and inputs give a different answer: see the probe's checks"


def test_empty_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, empty, numpy="2.3.1")
    assert failures(checks)["server.http"] == (
        "empty outputs: y",
        "NumPy 2.3.1 may be too new for this server's stub: releases up to 24.10 need numpy<2",
    )


def test_what_a_server_sends_otherwise_than_config_says_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, answer in enumerate((lambda size: np.ones((size, 0), np.float32), lambda size: np.ones(2))):
        (tmp_path / str(number)).mkdir()
        check = hold(tmp_path / str(number), monkeypatch, answer, own=True, probed=None)[1]
        assert (check.status, check.found.partition(": y is")[0]) == (
            "warning",
            "outputs are not as config.pbtxt describes them",
        )


def test_an_output_that_does_not_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(tmp_path, monkeypatch, right)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(client, "ask_http", lambda *_: [{}])
    server = Quiet(binary=Path("/x"), backends=tmp_path, stubs={})
    checks = checks_of_server(tmp_path / "other", server, own=True).run(tmp_path / "log", 1).checks
    assert failures(checks)["server.http"][0] == "outputs of config.pbtxt that the model does not send: y"


def test_empty_answers_of_a_server_older_than_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = hold(tmp_path, monkeypatch, empty, numpy="2.3.1", release="26.06")
    assert checks[0].found.endswith(", with its stub for Python 3.11; the archive is for 26.06")
    assert (checks[1].status, checks[1].found) == (
        "omitted",
        "pytriton-0.7.0 (Triton 2.51.0, release 24.10) cannot send arrays of NumPy 2.3.1 (y came back empty); "
        "26.06, which the archive is for, can: test on a server of that release",
    )
    assert failures(checks) == {}


def test_answers_that_crossed_by_dlpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, right, numpy="2.3.1", release="26.06")
    assert checks[1].found == (
        "answers by http for batches of 1, 3, 4, the same as eager torch; pytriton-0.7.0 (Triton 2.51.0, "
        "release 24.10) cannot send arrays of NumPy 2.3.1; tensors were passed by DLPack"
    )


def test_a_request_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(size: int) -> Any:
        raise RuntimeError("no route")

    assert failures(hold(tmp_path, monkeypatch, broken))["server.http"] == (
        "no answer by http: RuntimeError: no route\n  | I0101 said",
        "see the log for the cause",
    )


def test_a_server_that_does_not_start(tmp_path: Path) -> None:
    server = Dead(binary=Path("/x"), backends=tmp_path, stubs={})
    served = checks_of_server(tmp_path, server).run(tmp_path / "log", 1)
    assert served.server is None
    assert failures(served.checks) == {"server.start": ("it died", "why")}


LOADING = """\
I1201 09:00:00.000000 9 model_lifecycle.cc:472] "loading: right:1"
I1201 09:00:00.000000 9 model_lifecycle.cc:472] "loading: wrong:1"
I1201 09:00:00.000000 9 model_lifecycle.cc:472] "loading: stuck:2"
I1201 09:00:01.000000 9 model_lifecycle.cc:839] "successfully loaded 'right'"
E1201 09:00:01.000000 9 model_lifecycle.cc:642] "failed to load 'wrong' version 1: Internal: no"
"""


@pytest.mark.parametrize(
    ("many", "found", "fix"),
    [
        (False, "it died", "why"),
        (
            True,
            "it died\nit had begun to load stuck, and had not ended",
            "move stuck out of the repository, and verify again: the other models are then judged; why",
        ),
    ],
)
def test_who_was_still_loading_when_a_server_ended(tmp_path: Path, many: bool, found: str, fix: str) -> None:
    server = Dead(binary=Path("/x"), backends=tmp_path, stubs={})
    (tmp_path / "log").write_text(LOADING)
    (check,) = replace(checks_of_server(tmp_path, server), many=many).run(tmp_path / "log", 1).checks
    assert (check.status, check.found, check.fix) == ("failed", found, fix)


@dataclass(frozen=True, kw_only=True, slots=True)
class WithoutGpu(Dead):
    """A server on a machine that has no GPU."""

    def die(self) -> Iterator[RunningServer]:
        raise VerifyError("group m_0 of model m has kind KIND_GPU but no GPUs are available")


def test_a_gpu_that_this_machine_lacks_is_no_fault_of_a_model(tmp_path: Path) -> None:
    server = WithoutGpu(binary=Path("/x"), backends=tmp_path, stubs={})
    (check,) = checks_of_server(tmp_path, server).run(tmp_path / "log", 1).checks
    assert (check.status, check.fix) == (
        "unknown",
        "verify it on a machine with a GPU, or with KIND_CPU in instance_group",
    )


@pytest.mark.parametrize(
    ("said", "status", "rounds"),
    [
        ([([], 8), ([], 8), ([], 7)], "passed", 3),
        ([([], 8)] * 5, "passed", 5),
        ([([], 8), (["too few"], 7)], "failed", 2),
    ],
)
def test_requests_at_once_until_the_batcher_takes_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[Any], status: str, rounds: int
) -> None:
    left = list(said)
    checks = hold(tmp_path, monkeypatch, right, own=True, probed=None, together=lambda *_: left.pop(0))
    assert (checks[-1].id, checks[-1].status, len(said) - len(left)) == ("server.grpc", status, rounds)


@pytest.mark.parametrize("said", ["Exceeds maximum queue size", "Request timeout expired"])
def test_what_a_queue_policy_refuses_is_no_word_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    policies: list[Callable[[Any], None]] = [
        lambda batching: None,
        lambda batching: batching.default_queue_policy.SetInParent(),
        lambda batching: batching.priority_queue_policy[1].SetInParent(),
    ]
    found = []
    for number, set_policy in enumerate(policies):
        monkeypatch.setattr(client, "ask_together", lambda *_: ([said], 1))
        monkeypatch.setattr(client, "ask_http", lambda *_: [{"y": right(len(_[2]["x"]))}])
        monkeypatch.setattr(client, "ask_grpc", lambda *_: [{"y": right(len(_[2]["x"]))}])
        server = Quiet(binary=Path("/x"), backends=tmp_path, stubs={}, release="pytriton-0.7.0")
        (tmp_path / str(number)).mkdir()
        checks = checks_of_server(tmp_path / str(number), server, own=True)
        set_policy(checks.models[0].config.dynamic_batching)
        found.append(checks.run(tmp_path / f"log-{number}", 1).checks[-1].status)
    assert found == ["failed", "passed", "passed"]


RAISED = "Failed to process the request(s) for model 'm_0_0', message: ValueError: "
OWN = {"own": True, "compiled": False, "varying": [], "empty": []}


def test_an_own_model_is_compared_with_the_probe_and_never_with_eager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = hold(tmp_path, monkeypatch, right, own=True, probed=OWN)
    assert same[1].found == "answers by http for batches of 1, 3, 4, the same as in the probe"


def test_an_own_model_that_answers_otherwise_than_in_the_probe_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = hold(tmp_path, monkeypatch, lambda size: right(size) + 1, own=True, probed=OWN)
    assert (checks[1].status, failures(checks)) == ("warning", {})
    assert checks[1].found == (
        "the server's answers differ from the probe's: batch of 1: y differs from the probe by up to 1, "
        "batch of 3: y differs from the probe by up to 1, batch of 4: y differs from the probe by up to 1"
    )


def test_answers_of_another_type_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()
    checks = hold(tmp_path, monkeypatch, lambda size: right(size) + next(numbers), own=True, probed=OWN)
    assert checks[1].status == "passed"
    assert checks[1].found.endswith("with the types and dims of the probe's (y varies)")


def test_a_module_that_is_made_anew_is_not_compared_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"own": False, "compiled": True, "varying": [], "constructed": True}
    for number, (answer, status) in enumerate(
        [(lambda size: right(size) + 1, "passed"), (lambda size: right(size)[0], "failed")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        checks = hold(folder, monkeypatch, answer, probed=made)
        assert checks[1].status == status, checks[1].found


def test_a_server_is_asked_without_a_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = hold(tmp_path, monkeypatch, right, own=True, probed=None)
    assert checks[1].found == "answers by http for batches of 1, 3, 4, with nothing to compare them with"


@pytest.mark.parametrize(
    ("narrow", "probed", "raised", "status"),
    [
        (True, None, RAISED, "unknown"),
        (True, OWN, RAISED, "failed"),
        (False, None, RAISED, "failed"),
        (False, None, "Stub process 'm_0_0' is not healthy. ", "failed"),
        (False, None, None, "unknown"),  # it judges what it was asked
    ],
)
def test_a_model_that_refuses_its_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    narrow: bool,
    probed: Any,
    raised: str | None,
    status: str,
) -> None:
    def refuse(size: int) -> Any:
        said = raised or ""
        raise InferenceServerException(f"{said}no picture")

    case = sample.Case(label="1", inputs={"x": np.ones((1, 2), np.float32)})
    asked = sample.Questions(cases=(case,), source="made up from config.pbtxt", narrow=narrow, names=("x",))
    checks = hold(tmp_path, monkeypatch, refuse, own=True, probed=probed, questions=asked)
    assert checks[1].status == status
    assert "no picture" in checks[1].found
    if status == "unknown":
        assert checks[1].fix == asked.how_to_give()


@pytest.mark.parametrize(("whole", "status"), [(True, "failed"), (False, "unknown")])
def test_a_called_model_is_missing_only_from_a_repository_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, status: str
) -> None:
    def call(size: int) -> Any:
        raise InferenceServerException(f"{RAISED}Request for unknown model: 'other' is not found")

    checks = hold(tmp_path, monkeypatch, call, own=True, probed=None, whole=whole)
    assert {check.status for check in checks[1:]} == {status}


@pytest.mark.parametrize(
    ("taken", "status"),
    [
        (lambda x, _: (x >= 0).all(), "unknown"),  # a root
        (lambda x, _: (x > 0).all() and (x < 1).all(), "unknown"),  # a probability
        (lambda x, _: False, "failed"),
        (lambda x, number: number > 1, "failed"),  # it is not the values: the same ones are taken later
    ],
)
def test_floats_that_are_refused_are_tried_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Callable[[Any, int], bool], status: str
) -> None:
    hold(tmp_path, monkeypatch, right)
    asked = itertools.count(1)

    def ask(_running: RunningServer, _subject: DeployedModel, inputs: sample.Inputs) -> Answer:
        if not taken(inputs["x"], next(asked)):
            raise InferenceServerException(f"{RAISED}no such value")
        return [{"y": right(len(inputs["x"]))}]

    monkeypatch.setattr(client, "ask_http", ask)
    (tmp_path / "other").mkdir()
    server = Quiet(binary=Path("/x"), backends=tmp_path, stubs={}, release="pytriton-0.7.0")
    served = checks_of_server(tmp_path / "other", server, own=True, probed=None)
    check = served.run(tmp_path / "other.log", 1).checks[1]
    assert (check.id, check.status, check.found.count("no such value")) == ("server.http", status, 1)
    assert (check.fix == served.models[0].questions.how_to_give()) is (status == "unknown")


@pytest.mark.parametrize(("more", "status"), [(0, "passed"), (0.2, "passed"), (1, "failed")])
def test_what_its_user_expects_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: float, status: str
) -> None:
    expected = ({"y": np.full((1, 2), 3 + more, np.float32)},)
    case = sample.Case(label="x.npz", inputs={"x": np.ones((1, 2), np.float32)}, expected=expected)
    asked = sample.Questions(cases=(case,), source="x.npz", made_up=False, tolerance={"atol": 0.5})
    for probed in (OWN, None):
        folder = tmp_path / str(probed is None)
        folder.mkdir()
        check = hold(folder, monkeypatch, right, own=True, probed=probed, questions=asked)[1]
        assert check.status == status
        assert "x.npz expects" in check.found
