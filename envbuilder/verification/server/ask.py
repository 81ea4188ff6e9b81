"""Checks with a real server: the archive extracted by its libarchive, launched by its launcher, asked by a client."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from packaging.requirements import Requirement

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import find_release
from envbuilder.errors import VerifyError
from envbuilder.guest.equality import differences, rough_outputs
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.launch import hiding
from envbuilder.verification.live.run_probe import Subject
from envbuilder.verification.report import Check, Status, some
from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import Server, StartOptions

_Ask = Callable[[RunningServer, Subject, sample.Inputs], sample.Inputs]
_Verdict = tuple[Status, str, str | None]
_CLIENT_TIMEOUT = 120.0
"""Seconds for one request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a server answered."""

    checks: tuple[Check, ...]
    server: str | None
    """Which it was, if it became ready."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interview:
    """A server, the model it is asked for, and what is known of both."""

    server: Server
    subject: Subject
    manifest: Manifest
    python: str
    """Minor version, which decides the stub."""
    numpy: str
    """Version in the environment."""

    def hold(self, log: Path, timeout: float) -> Served:
        """Start the server, ask it by HTTP and gRPC, compare with eager's answers; *timeout* in seconds."""
        began = time.monotonic()
        checks: list[Check] = []
        caches = {name: str(log.parent / "cache") for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
        repository = self.subject.place.root / "models"
        try:
            with self.server.start(
                repository,
                python=self.python,
                log=log,
                options=StartOptions(
                    env=caches, ready_timeout=timeout, within=tuple(hiding(self.subject.hidden))
                ),
            ) as running:
                seconds = time.monotonic() - began
                text = f"ready {seconds:.1f} s after its start: {self._which()}"
                checks.append(Check(id="server.start", status="passed", found=text, seconds=seconds))
                checks += [self._ask("http", _ask_http, running), self._ask("grpc", _ask_grpc, running)]
        except VerifyError as error:
            checks.append(Check(id="server.start", status="failed", found=error.message, fix=error.hint))
            return Served(checks=tuple(checks), server=None)
        return Served(checks=tuple(checks), server=self.server.describe())

    def _which(self) -> str:
        name = self.server.describe()
        if self.server.release in (None, self.manifest.release):
            return name
        return f"{name}, with its stub for Python {self.python}; the archive is for {self.manifest.release}"

    def _ask(self, protocol: str, ask: _Ask, running: RunningServer) -> Check:
        """Ask for some batch sizes and judge the answers."""
        began = time.monotonic()
        expected = sample.load(self.subject.outputs)
        sizes = sample.batch_sizes(self.subject.config)
        sizes = sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})
        wrong: list[str] = []
        empty: set[str] = set()
        try:
            for size in sizes:
                answer = ask(running, self.subject, sample.make_inputs(self.subject.config, size))
                empty |= {name for name, array in answer.items() if not array.size}
                differ = _differences(answer, expected[size], self.subject)
                wrong += [f"batch of {size}: {text}" for text in differ]
        except Exception as error:  # whatever a client meets is what the check found
            text = f"no answer by {protocol}: {type(error).__name__}: {error}\n{running.last_lines()}"
            verdict: _Verdict = ("failed", text, "the log says what the model met")
        else:
            verdict = self._judge(protocol, sizes, sorted(empty), wrong)
        status, found, fix = verdict
        seconds = time.monotonic() - began
        return Check(id=f"server.{protocol}", status=status, found=found, fix=fix, seconds=seconds)

    def _judge(self, protocol: str, sizes: list[int], empty: list[str], wrong: list[str]) -> _Verdict:
        server, past = self.server.describe(), self._stub_predates_numpy()
        if empty and past:
            text = (
                f"{server} cannot send arrays of NumPy {self.numpy} ({', '.join(empty)} came back empty); "
                f"{self.manifest.release}, which the archive is for, can: ask a server of that release"
            )
            return "omitted", text, None
        if empty:
            text = f"outputs that came back empty: {', '.join(empty)}"
            return (
                "failed",
                text,
                f"is NumPy {self.numpy} too new for this server's stub? Up to 24.10: numpy<2",
            )
        if wrong:
            text = f"answers are not those of eager torch: {some(wrong)}"
            return (
                "failed",
                text,
                "the same model, environment and inputs give another answer: see the probe's checks",
            )
        text = f"answers by {protocol} for batches of {', '.join(map(str, sizes))}, as eager torch answers"
        if past:
            text += f"; {server} cannot send arrays of NumPy {self.numpy}, tensors crossed by DLPack"
        return "passed", text, None

    def _stub_predates_numpy(self) -> bool:
        """Say whether this server cannot take the environment's NumPy, which the archive's own release can."""
        if self.server.release is None or not self.numpy:
            return False
        numpy = [Requirement(demand) for demand in find_release(self.server.release).demands]
        too_new = any(d.name == "numpy" and not d.specifier.contains(self.numpy) for d in numpy)
        return (
            too_new
            and find_release(self.manifest.release).demands != find_release(self.server.release).demands
        )


def _differences(answer: sample.Inputs, expected: sample.Inputs, subject: Subject) -> list[str]:
    rough = rough_outputs(sample.as_stub_sees(subject.config))
    comparable = {
        name: array.astype("S") if array.dtype == object else array for name, array in answer.items()
    }
    return differences(comparable, expected, rough)


def _ask_http(running: RunningServer, subject: Subject, inputs: sample.Inputs) -> sample.Inputs:
    with tritonclient.http.InferenceServerClient(running.http, network_timeout=_CLIENT_TIMEOUT) as client:
        return _infer(tritonclient.http, client.infer, subject, inputs)


def _ask_grpc(running: RunningServer, subject: Subject, inputs: sample.Inputs) -> sample.Inputs:
    with tritonclient.grpc.InferenceServerClient(running.grpc) as client:

        def infer(*args: Any, **options: Any) -> Any:
            return client.infer(*args, client_timeout=_CLIENT_TIMEOUT, **options)

        return _infer(tritonclient.grpc, infer, subject, inputs)


def _infer(module: Any, infer: Callable[..., Any], subject: Subject, inputs: sample.Inputs) -> sample.Inputs:
    sent = []
    for field in subject.config.input:
        array = inputs[field.name]
        tensor = module.InferInput(field.name, list(array.shape), sample.data_type(field))
        tensor.set_data_from_numpy(array.astype(object) if array.dtype.kind == "S" else array)
        sent.append(tensor)
    result = infer(subject.config.name, sent, model_version=subject.version)
    return {field.name: array_of(result, field.name) for field in subject.config.output}


def array_of(result: Any, name: str) -> np.ndarray[Any, Any]:
    """Return an output; an empty one also where it claims another shape, which the clients refuse in words."""
    try:
        array = result.as_numpy(name)
    except ValueError as error:
        if "array of size 0 into shape" not in str(error):
            raise
        array = None
    return np.empty(0) if array is None else array
