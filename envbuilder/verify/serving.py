"""Checks with a real server: the archive extracted by its libarchive, launched by its launcher, asked by a client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tritonclient.grpc
import tritonclient.http

from envbuilder.errors import VerifyError
from envbuilder.manifest import Manifest
from envbuilder.triton import PYTRITON
from envbuilder.verify import sample
from envbuilder.verify.live import Subject
from envbuilder.verify.probe import differences
from envbuilder.verify.report import Check, some
from envbuilder.verify.server import RunningServer, TritonServer

_CLIENT_TIMEOUT = 120.0
"""Seconds for one request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """What a server answered."""

    checks: tuple[Check, ...]
    server: str | None
    """Which it was, if it became ready."""


def check_server(
    server: TritonServer,
    subject: Subject,
    manifest: Manifest,
    *,
    python: str,
    log: Path,
    numpy: str,
    timeout: float,
) -> Served:
    """Serve *subject*'s model by *server*; ask it by HTTP and gRPC, and compare with eager's answers."""
    began = time.monotonic()
    checks: list[Check] = []
    try:
        with server.start(
            subject.place.root / "models", python=python, log=log, ready_timeout=timeout
        ) as running:
            text = f"ready {time.monotonic() - began:.1f} s after its start: {_which(server, manifest)}"
            checks.append(_check("server.start", text, seconds=time.monotonic() - began))
            checks += _ask(running, server, subject, manifest, numpy)
    except VerifyError as error:
        checks.append(
            Check(
                id="server.start",
                status="failed",
                found=error.message,
                fix=error.hint,
                seconds=time.monotonic() - began,
            )
        )
        return Served(checks=tuple(checks), server=None)
    return Served(checks=tuple(checks), server=server.describe())


def _which(server: TritonServer, manifest: Manifest) -> str:
    name = server.describe()
    if server.release in (None, manifest.release):
        return name
    return f"{name}, with its stub for Python {manifest.python}; the archive is for {manifest.release}"


def _ask(
    running: RunningServer, server: TritonServer, subject: Subject, manifest: Manifest, numpy: str
) -> Iterator[Check]:
    expected = sample.load(subject.outputs) if subject.outputs.is_file() else {}
    for protocol, ask in (("http", _ask_http), ("grpc", _ask_grpc)):
        began = time.monotonic()
        id = f"server.{protocol}"
        wrong, empty = [], []
        try:
            for size in _sizes(subject):
                inputs = sample.make_inputs(subject.config, size)
                answer = ask(running, subject, inputs)
                empty += [name for name, array in answer.items() if array is None or not array.size]
                wrong += [
                    f"batch of {size}: {text}" for text in _differences(answer, expected.get(size), subject)
                ]
        except Exception as error:  # whatever a client meets is what the check found
            text = f"no answer by {protocol}: {type(error).__name__}: {error}\n{running.last_lines()}"
            yield _check(
                id, text, "the log says what the model met", failed=True, seconds=time.monotonic() - began
            )
            continue
        seconds = time.monotonic() - began
        if empty and _stub_lacks(server, manifest, numpy):
            text = (
                f"{server.describe()} cannot take NumPy {numpy} ({', '.join(sorted(set(empty)))} came back empty), "
                f"which {manifest.release} can: ask a server of that release"
            )
            yield Check(id=id, status="omitted", found=text, seconds=seconds)
        elif empty:
            text = f"outputs that came back empty: {', '.join(sorted(set(empty)))}"
            yield _check(
                id, text, f"{server.describe()} with NumPy {numpy}: numpy<2", failed=True, seconds=seconds
            )
        elif wrong:
            text = f"answers are not those of eager torch: {some(wrong)}"
            yield _check(
                id, text, "the same model, environment and inputs give another answer", True, seconds
            )
        else:
            note = (
                f"; NumPy {numpy} got past its stub by DLPack" if _stub_lacks(server, manifest, numpy) else ""
            )
            against = "as eager torch answers" if expected else "not empty"
            text = f"answers by {protocol} for batches of {', '.join(map(str, _sizes(subject)))}, {against}{note}"
            yield _check(id, text, seconds=seconds)


def _sizes(subject: Subject) -> list[int]:
    sizes = sample.batch_sizes(subject.config)
    return sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})


def _stub_lacks(server: TritonServer, manifest: Manifest, numpy: str) -> bool:
    """Say whether this server's stub predates NumPy 2 where the archive's own release does not."""
    return server.release == PYTRITON and manifest.release > "24.10" and not numpy.startswith("1.")


def _differences(answer: sample.Inputs, expected: sample.Inputs | None, subject: Subject) -> list[str]:
    if expected is None:
        return []
    rough = [field.name for field in subject.config.output if sample.data_type(field) == "BF16"]
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
    return {field.name: result.as_numpy(field.name) for field in subject.config.output}


def _check(id: str, found: str, fix: str | None = None, failed: bool = False, seconds: float = 0.0) -> Check:
    return Check(id=id, status="failed" if failed else "passed", found=found, fix=fix, seconds=seconds)
