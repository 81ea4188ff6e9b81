"""Run the probe in the environment, with a deployed model, under a release's launch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format

from envbuilder.catalog.triton import Launch
from envbuilder.errors import VerifyError
from envbuilder.guest.answers import unexpected
from envbuilder.guest.equality import rough_outputs
from envbuilder.util.documents import DocumentError
from envbuilder.util.files import read_regular
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.answer import check_answer, check_failed
from envbuilder.verification.live.deployed import DeployedModel, prepare
from envbuilder.verification.live.guest_process import run_guest

__all__ = ["DeployedModel", "Probed", "complete", "prepare", "run_probe"]


class CompletionError(VerifyError):
    """A model's ``auto_complete_config`` failed; ``failed`` is the guest's record of that."""

    def __init__(self, message: str, failed: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.failed = failed


PROBE_TIMEOUT: Final = 900.0
"""Limit in seconds: torch.compile on a slow machine, twice."""
_HOOK: Final = b"auto_complete_config"
_MOST_CODE: Final = 2**24
"""How much of a Python file is searched, in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """The result of a probe under one launch."""

    launch: Launch
    answer: Mapping[str, Any] | None
    """None: it ended without one."""
    ended: str
    """How it ended, with its last lines."""
    seconds: float
    unexpected: tuple[str, ...] = ()
    """How outputs differ from the expected ones."""

    @property
    def served(self) -> Mapping[str, Any] | None:
        """Results on the CPU; None if there are none."""
        found: Mapping[str, Any] | None = (self.answer or {}).get("CPU")
        return found if found is not None and "cases" in found else None


def complete(
    deployed: DeployedModel, launch: Launch, *, lacks: Sequence[str] = (), timeout: float = PROBE_TIMEOUT
) -> DeployedModel:
    """Return *deployed* with its configuration completed by ``auto_complete_config`` of its model.

    As on a server, that runs in a separate process before the model is loaded. A model without it is unchanged. The
    stub module is without the names that the release *lacks* (:mod:`envbuilder.catalog.python_backend`).

    Raises:
        CompletionError: it raised an exception.
        VerifyError: its process ended early, or its result cannot be parsed.
    """
    path = deployed.folder / deployed.version / deployed.file
    if not deployed.own or not path.is_file():
        return deployed
    job = {"task": "complete", "own": True, "lacks": list(lacks), **deployed.job()}
    name = f"complete-{deployed.key}"
    done = run_guest(deployed.sandbox, launch, name, job, hidden=deployed.hidden, timeout=timeout)
    if (done.answer is None or "failed" in done.answer) and not _names_hook(deployed.folder):
        return replace(deployed, incomplete=True)  # it does not load, which the probe reports
    try:
        if done.answer is None:
            raise VerifyError(f"auto_complete_config of {path.name}: {done.how}")
        if "failed" in done.answer:
            failed = check_failed(done.answer.record("failed"))
            raise CompletionError(f"auto_complete_config of {path.name}: {failed['text']}", failed)
        if "config" not in done.answer:
            return deployed
        config = sample.config_of(done.answer.record("config").value)
    except (DocumentError, json_format.ParseError) as error:
        raise VerifyError(f"auto_complete_config of {path.name}: {error}") from None
    return replace(deployed, config=config)


def _names_hook(folder: Path) -> bool:
    """Return whether a file of the model directory *folder* mentions ``auto_complete_config``."""
    for path in folder.rglob("*.py"):
        with suppress(OSError):
            if _HOOK in read_regular(path, most=_MOST_CODE):
                return True
    return False


def run_probe(
    deployed: DeployedModel,
    launch: Launch,
    *,
    lacks: Sequence[str] = (),
    brief: bool = False,
    timeout: float = PROBE_TIMEOUT,
) -> Probed:
    """Run the probe in the environment as *launch* runs a stub; *brief*: examine only the model.

    The stub module is without the names that the release *lacks* (:mod:`envbuilder.catalog.python_backend`).
    *timeout* is in seconds.
    """
    began = time.monotonic()
    sandbox, name = deployed.sandbox, f"{deployed.key}-{launch}{f'-{len(lacks)}' if lacks else ''}"
    folder = sandbox.root / "verify"
    caches, scratch, inputs = (
        folder / f"cache-{name}",
        folder / f"scratch-{name}",
        folder / f"inputs-{name}.npz",
    )
    for made in (caches, scratch):
        made.mkdir()
    sample.save(inputs, deployed.questions.cases)
    job = {
        "task": "probe",
        **deployed.job(),
        "own": deployed.own,
        "brief": brief and deployed.own,
        "inputs": sandbox.seen(inputs),
        "made_up": deployed.questions.made_up,
        "lacks": list(lacks),
        "outputs": sandbox.seen(deployed.outputs),
        "caches": [sandbox.seen(caches)],
        "scratch": sandbox.seen(scratch),
        "neighbours": dict(deployed.neighbours),
    }
    variables = {"TORCHINDUCTOR_CACHE_DIR": sandbox.seen(caches), "TRITON_CACHE_DIR": sandbox.seen(caches)}
    done = run_guest(
        sandbox, launch, f"probe-{name}", job, variables=variables, hidden=deployed.hidden, timeout=timeout
    )
    found, ended = None, done.how
    if done.answer is not None:
        try:
            found = check_answer(done.answer)
        except DocumentError as error:
            ended = f"{error}; {ended}"
    probed = Probed(launch=launch, answer=found, ended=ended, seconds=time.monotonic() - began)
    return replace(probed, unexpected=_unexpected(deployed)) if probed.served is not None else probed


def _unexpected(deployed: DeployedModel) -> tuple[str, ...]:
    """Return how the probe's outputs differ from expected ones, if there are any."""
    questions = deployed.questions
    expected = [case for case in questions.cases if case.expected]
    if not expected:
        return ()
    answers = sample.load(deployed.outputs)
    rough = rough_outputs(sample.stub_config(deployed.config))
    return tuple(
        f"{case.title}: {text}"
        for case in expected
        for text in unexpected(
            answers.get(case.label, []),
            [dict(one) for one in case.expected],
            rough=rough,
            tolerance=questions.tolerance,
        )
    )
