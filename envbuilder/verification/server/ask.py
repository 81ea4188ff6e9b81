"""Checks with a real server: its libarchive extracts the archive, its launcher starts it, and clients query it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from tritonclient.utils import InferenceServerException

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import find_release
from envbuilder.errors import VerifyError
from envbuilder.guest.answers import (
    mismatches,
    missing_outputs,
    undescribed_outputs,
    unexpected,
    varying_outputs,
)
from envbuilder.guest.equality import rough_outputs
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.deployed import DeployedModel
from envbuilder.verification.live.evaluate_model import not_described, not_sent
from envbuilder.verification.live.inputs import labels_in_words
from envbuilder.verification.live.launch import hiding
from envbuilder.verification.report import Check, Status, some
from envbuilder.verification.server import client
from envbuilder.verification.server.attempt import Ask, Attempt
from envbuilder.verification.server.completed import NO_INPUTS, as_served
from envbuilder.verification.server.newer import lacked_by_server
from envbuilder.verification.server.process import RunningServer, unfinished
from envbuilder.verification.server.served_model import ServedModel
from envbuilder.verification.server.servers import Server, StartOptions

_Verdict = tuple[Status, str, str | None]
_LACKS_BACKEND: Final = re.compile(
    r"unable to find backend library|unable to find '[^']*' or '[^']*' for model|no backend|"
    r"backend '[^']*' (?:is )?not found"
)
_RAISED: Final = re.compile(r"Failed to process the request|\bnot ready\b|[Uu]nhealthy|[Ss]tub process")
"""A server's error if a model raised an exception, or its process ended, instead of returning an error."""
_NOT_TAKEN: Final = re.compile(r"Exceeds maximum queue size|Request timeout expired")
"""A server's error if its queue policy rejects a request before the model gets it."""
_SILENT: Final = 15.0
"""Seconds that clients wait for a model that did not answer in the probe."""
_TIMED_OUT: Final = re.compile(r"no response within|Deadline Exceeded|timed out")
_ANSWER: Final = (
    "return a response to each request, or send the last one with TRITONSERVER_RESPONSE_COMPLETE_FINAL, also where it "
    "fails: InferenceResponse(error=TritonError(…))"
)
_AT_ONCE: Final = 8
_ROUNDS: Final = 5
_NO_GPU: Final = "but no GPUs are available"
"""A server's error for a model with KIND_GPU on a machine without a GPU."""
_WITH_GPU: Final = "verify it on a machine with a GPU, or with KIND_CPU in instance_group"
_UNKNOWN_MODEL: Final = re.compile(
    r"Request for unknown model|is not found|has no available versions|Model '[^']*' is not ready"
)


def _not_started(error: VerifyError, loading: Sequence[str]) -> Check:
    """Report a server that did not become ready while it was *loading* some of several models."""
    found, fix = error.message, error.hint
    if loading:
        names = ", ".join(loading)
        found += f"\nit had begun to load {names}, and had not ended"
        fix = f"move {names} out of the repository, and verify again: the other models are then judged; {fix}"
    return Check(id="server.start", status="failed", found=found, fix=fix)


def _comes_in_batches(deployed: DeployedModel) -> bool:
    """Return whether a server may pass several requests to a user's model in one call."""
    config, first = deployed.config, deployed.questions.cases[0].inputs
    rows = max((len(array) for array in first.values() if array.ndim), default=1)
    batching = config.HasField("dynamic_batching") and not deployed.decoupled
    return deployed.own and batching and config.max_batch_size >= 2 * rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """The checks of a server."""

    checks: tuple[Check, ...]
    server: str | None
    """A description of the server, if it became ready."""
    loading: tuple[str, ...] = ()
    """Of several models those that it was loading when it ended, if it did not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Heard:
    """The results of requests to a model by one protocol."""

    labels: Sequence[str]
    lost: Sequence[str] = ()
    """Outputs whose values were lost in transfer."""
    missing: Sequence[str] = ()
    """Outputs that were not sent."""
    undescribed: Sequence[str] = ()
    """How outputs differ from their description in config.pbtxt."""
    wrong: Sequence[str] = ()
    """How outputs differ from the probe's."""
    unexpected: Sequence[str] = ()
    """How outputs differ from those that the user expects."""
    varying: Sequence[str] = ()
    compared: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerChecks:
    """Runs the checks of *models* on a server."""

    server: Server
    models: Sequence[DeployedModel]
    subjects: Callable[[], Sequence[ServedModel]]
    """Waits for the probe, and returns the same models with its results."""
    manifest: Manifest
    python: str
    """The environment's Python, ``3.12``, which selects the stub."""
    many: bool = False
    """Whether the repository contains more than one model."""
    whole: bool = False
    """Whether the repository is the user's: a model that it lacks is missing in production, too."""
    loaded: tuple[str, ...] = ()
    """The models of the repository that are loaded; empty: all."""

    def run(self, log: Path, timeout: float) -> Served:
        """Start the server, send requests by HTTP and gRPC, and compare the answers; *timeout* is in seconds."""
        began = time.monotonic()
        checks: list[Check] = []
        caches = {name: str(log.parent / "cache") for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
        first = self.models[0]
        own = any(model.own for model in self.models)
        # A user's model may load others, which other modes of model control refuse.
        names = self.loaded or ("*",)
        loading = ("--model-control-mode=explicit", *(f"--load-model={name}" for name in names))
        # If one model does not load, the others are tested all the same.
        lenient = ("--exit-on-error=false", "--strict-readiness=false")
        options = StartOptions(
            env=caches,
            ready_timeout=timeout,
            within=tuple(hiding(first.hidden)),
            extra_args=(*(loading if own or self.many else ()), *(lenient if self.many else ())),
            metrics=own,
            unload=False,  # what it may log while it unloads is not needed
        )
        try:
            with self.server.start(
                first.sandbox.root / "models", python=self.python, log=log, options=options
            ) as running:
                seconds = time.monotonic() - began
                text = f"ready {seconds:.1f} s after its start: {self._which()}"
                checks.append(Check(id="server.start", status="passed", found=text, seconds=seconds))
                for subject in self.subjects():
                    checks += self._model(subject, running)
        except VerifyError as error:
            unready: tuple[str, ...] = ()
            lacked = lacked_by_server(self.server, self.manifest.release, error.message)
            if lacked is not None:
                checks.append(Check(id="server.start", status="omitted", found=lacked))
            elif _NO_GPU in error.message:
                text = f"not known: a model wants a GPU, and this machine has none: {error.message}"
                checks.append(Check(id="server.start", status="unknown", found=text, fix=_WITH_GPU))
            else:
                unready = tuple(unfinished(log)) if self.many else ()
                checks.append(_not_started(error, unready))
            return Served(checks=tuple(checks), server=None, loading=unready)
        return Served(checks=tuple(checks), server=self.server.describe())

    def _which(self) -> str:
        name = self.server.describe()
        if self.server.release in (None, self.manifest.release):
            return name
        return f"{name}, with its stub for Python {self.python}; the archive is for {self.manifest.release}"

    def _model(self, subject: ServedModel, running: RunningServer) -> list[Check]:
        """Send requests for one model, and yield checks."""
        made: list[Check] = []
        if self.many:
            reason = client.not_ready(running, subject.deployed)
            if reason is not None:
                return [self._not_served(reason).of_model(subject.deployed.title)]
            made.append(Check(id="server.model", status="passed", found="it is served"))
        name = subject.deployed.title
        try:
            subject = replace(subject, deployed=as_served(running, subject.deployed))
        except VerifyError as error:
            made.append(Check(id="model.inputs", status="failed", found=error.message, fix=error.hint))
        else:
            made += self._asked(subject, running)
        return [check.of_model(name) for check in made] if self.many else made

    def _asked(self, subject: ServedModel, running: RunningServer) -> list[Check]:
        """Send requests for one model that is ready."""
        made: list[Check] = []
        if subject.silent:
            running = replace(running, patience=_SILENT)
        if not subject.deployed.questions.cases:
            fix = "describe its inputs in config.pbtxt"
            return [Check(id="server.grpc", status="unknown", found=NO_INPUTS, fix=fix)]
        if subject.deployed.decoupled:
            text = "the model is decoupled, and HTTP allows only one response per request: see server.grpc"
            made.append(Check(id="server.http", status="omitted", found=text))
        else:
            made.append(self._ask("http", client.ask_http, subject, running))
        made.append(self._ask("grpc", client.ask_grpc, subject, running))
        if made[-1].status == "passed" and client.has_text_ids(subject.deployed):
            made[-1] = self._with_short_id(made[-1], subject, running)
        if made[-1].status in ("passed", "warning") and _comes_in_batches(subject.deployed):
            made[-1] = self._together(made[-1], subject, running)
        return made

    def _with_short_id(self, check: Check, subject: ServedModel, running: RunningServer) -> Check:
        """Send one more request, with a short text as sequence id, which servers up to 24.10 refuse."""
        inputs = subject.deployed.questions.cases[0].inputs
        refused = client.refuses_short_id(running, subject.deployed, inputs)
        if refused is None:
            return check
        text = f"{check.found}, to a sequence id of 128 bytes; a shorter one this server refuses: {refused}"
        fix = "let clients pad the id to 128 bytes, or take TYPE_UINT64 for CONTROL_SEQUENCE_CORRID"
        return replace(check, status="warning", found=text, fix=fix)

    def _together(self, check: Check, subject: ServedModel, running: RunningServer) -> Check:
        """Send simultaneous requests until the dynamic batcher passes two of them to the model in one call."""
        inputs = subject.deployed.questions.cases[0].inputs
        batching = subject.deployed.config.dynamic_batching
        limited = batching.HasField("default_queue_policy") or batching.priority_queue_policy
        for _ in range(_ROUNDS):
            said, executions = client.ask_together(running, subject.deployed, inputs, _AT_ONCE)
            errors = [error for error in said if not (limited and _NOT_TAKEN.search(error))]
            if errors:
                text = f"{len(errors)} of {_AT_ONCE} simultaneous requests fail: {errors[0]}"
                fix = "with dynamic_batching, execute gets several requests in one call: return a response to each"
                return replace(check, status="failed", found=text, fix=fix)
            if executions < _AT_ONCE:
                break
        return check

    def _not_served(self, reason: str) -> Check:
        if _LACKS_BACKEND.search(reason):
            text = f"not tested: this server lacks the backend of the model, or of a model that it calls: {reason}"
            return Check(id="server.model", status="omitted", found=text)
        if _NO_GPU in reason:
            return Check(id="server.model", status="unknown", found=f"not known: {reason}", fix=_WITH_GPU)
        lacked = lacked_by_server(self.server, self.manifest.release, reason)
        if lacked is not None:
            return Check(id="server.model", status="omitted", found=lacked)
        fix = "fix the cause that is named; a server in production fails in the same way"
        return Check(
            id="server.model", status="failed", found=f"the server does not load it: {reason}", fix=fix
        )

    def _ask(self, protocol: str, ask: Ask, subject: ServedModel, running: RunningServer) -> Check:
        """Send some of the requests and check the answers."""
        began = time.monotonic()
        attempt = Attempt(ask)
        try:
            verdict = self._judge(protocol, subject, self._hear(attempt, subject, running))
        except Exception as error:  # any error of a client is a result of the check
            verdict = self._refused(protocol, subject, error, running, attempt)
        status, found, fix = verdict
        seconds = time.monotonic() - began
        return Check(id=f"server.{protocol}", status=status, found=found, fix=fix, seconds=seconds)

    def _hear(self, ask: Ask, subject: ServedModel, running: RunningServer) -> _Heard:
        deployed, known, varying = subject.deployed, subject.known, set(subject.varying)
        config = sample.stub_config(deployed.config)
        rough = rough_outputs(config)
        cases = deployed.questions.few
        answers = {case.label: ask(running, deployed, case.inputs) for case in cases}
        if deployed.own:  # outputs may vary with the process, time or host, which the probe cannot detect
            again = ask(running, deployed, cases[0].inputs)
            varying |= set(varying_outputs(answers[cases[0].label], again, rough))
        wrong, surprising = [], []
        for case in cases:
            answer = answers[case.label]
            if case.label in known:
                found = mismatches(
                    answer, known[case.label], rough=rough, varying=varying, against=subject.against
                )
                wrong += [f"{case.title}: {text}" for text in found]
            if case.expected:
                tolerance = deployed.questions.tolerance
                found = unexpected(answer, list(case.expected), rough=rough, tolerance=tolerance)
                surprising += [f"{case.title}: {text}" for text in found]
        return _Heard(
            labels=[case.label for case in cases],
            lost=client.lost_outputs(answers.values()),
            missing=missing_outputs(config, answers.values()),
            undescribed=undescribed_outputs(config, answers) if deployed.own else (),
            wrong=wrong,
            unexpected=surprising,
            varying=sorted(varying),
            compared=all(case.label in known for case in cases),
        )

    def _refused(
        self, protocol: str, subject: ServedModel, error: Exception, running: RunningServer, attempt: Attempt
    ) -> _Verdict:
        """Evaluate a request that was refused."""
        questions, said = subject.deployed.questions, f"{type(error).__name__}: {error}"
        answered_by_model = isinstance(error, InferenceServerException)
        if (
            answered_by_model
            and subject.deployed.own
            and not self.whole
            and _UNKNOWN_MODEL.search(str(error))
        ):
            text = f"not known: it calls a model that is missing from the repository: {said}"
            return "unknown", text, "name the repository with the other models: `--repository DIR`"
        lacked = lacked_by_server(self.server, self.manifest.release, said)
        if lacked is not None:
            return "omitted", lacked, None
        late = _TIMED_OUT.search(said) is not None
        if subject.silent and late:
            text = f"no answer by {protocol} within {running.patience:g} s, nor any in the probe: {said}"
            return "failed", text, _ANSWER
        # An error response may be about the input; an exception may be raised for any input.
        judged = subject.deployed.own and not _RAISED.search(str(error))
        if (
            answered_by_model
            and subject.probed is None
            and questions.made_up
            and (questions.narrow or judged or (not late and attempt.may_be_the_values()))
        ):
            text = (
                f"not known: the model rejects an input by {protocol}, which was {questions.source}: {said}"
            )
            return "unknown", text, questions.how_to_give()
        text = f"no answer by {protocol}: {said}\n{running.last_lines()}"
        return "failed", text, "see the log for the cause"

    def _judge(self, protocol: str, subject: ServedModel, heard: _Heard) -> _Verdict:
        deployed, past = subject.deployed, self._stub_predates_numpy(subject.numpy)
        if heard.lost and past:
            text = (
                f"{self.server.describe()} cannot send arrays of NumPy {subject.numpy} ({', '.join(heard.lost)} came "
                f"back empty); {self.manifest.release}, which the archive is for, can: test on a server of that release"
            )
            return "omitted", text, None
        if heard.lost:
            text = f"empty outputs: {', '.join(heard.lost)}"
            return (
                "failed",
                text,
                f"NumPy {subject.numpy} may be too new for this server's stub: releases up to 24.10 need numpy<2",
            )
        if heard.missing:
            return "failed", *not_sent(heard.missing)
        if heard.unexpected:
            text = f"answers differ from those that {deployed.questions.source} expects: {some(heard.unexpected)}"
            return "failed", text, "correct `expected`, or allow a larger difference with `rtol` and `atol`"
        if heard.wrong and deployed.own:
            text = f"the server's answers differ from the probe's: {some(heard.wrong)}"
            return (
                "warning",
                text,
                "ignore this if they depend on the process or the machine; set `expected` to decide it",
            )
        if heard.wrong:
            than = "eager torch" if subject.against == "eager" else subject.against
            text = f"answers differ from those of {than}: {some(heard.wrong)}"
            return (
                "failed",
                text,
                "the same model, environment and inputs give a different answer: see the probe's checks",
            )
        if heard.undescribed:
            return "warning", *not_described(heard.undescribed)
        text = f"answers by {protocol} for {labels_in_words(heard.labels)}, {self._alike(subject, heard)}"
        if past:
            name = self.server.describe()
            text += f"; {name} cannot send arrays of NumPy {subject.numpy}; tensors were passed by DLPack"
        return "passed", text, None

    def _alike(self, subject: ServedModel, heard: _Heard) -> str:
        if any(case.expected for case in subject.deployed.questions.cases):
            return f"as {subject.deployed.questions.source} expects"
        if not heard.compared:
            return "with nothing to compare them with"
        if heard.varying:
            return f"with the types and dims of the probe's ({', '.join(heard.varying)} varies)"
        return "the same as eager torch" if subject.against == "eager" else "the same as in the probe"

    def _stub_predates_numpy(self, version: str) -> bool:
        """Return whether this server does not support the environment's NumPy, but the archive's own release does."""
        if self.server.release is None or not version:
            return False
        numpy = [Requirement(demand) for demand in find_release(self.server.release).demands]
        too_new = any(d.name == "numpy" and not d.specifier.contains(version) for d in numpy)
        return (
            too_new
            and find_release(self.manifest.release).demands != find_release(self.server.release).demands
        )
