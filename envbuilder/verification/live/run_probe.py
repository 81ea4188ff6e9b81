"""Run the environment: a model deployed with it, and the probe under a release's launch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from envbuilder.catalog.triton import Launch
from envbuilder.deployment.config import RUNTIME_FILE, read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.progress import Reporter
from envbuilder.util.documents import DocumentError
from envbuilder.verification.live import inputs as sample
from envbuilder.verification.live.answer import check_answer
from envbuilder.verification.live.guest_process import run_guest
from envbuilder.verification.live.launch import Place, host_compilers

PROBE_TIMEOUT: Final = 900.0
"""Seconds: torch.compile on a slow machine, twice."""
_COMPILE: Final = "TORCH_COMPILE_OPTIONAL_PARAMETERS"


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model in a place, deployed with the archive."""

    place: Place
    deployment: Deployment
    config: model_config_pb2.ModelConfig
    version: str
    inputs: Path
    outputs: Path
    """The eager model's answers, once a probe ran."""
    compiler: str | None = None
    """The path in the environment of the C++ compiler that it brings along."""

    @property
    def hidden(self) -> tuple[str, ...]:
        """What of this machine must not be in reach: its compilers, where the environment brings its own."""
        return host_compilers() if self.compiler is not None else ()

    @property
    def file(self) -> str:
        """The file in the version folder that Triton imports."""
        return self.config.default_model_filename or "model.py"


def prepare(
    archive: Path,
    model: Path,
    place: Place,
    envs: Path,
    *,
    compile: Mapping[str, Any],
    compiler: str | None = None,
    reporter: Reporter,
) -> Subject:
    """Deploy *model* with *archive* into *place*, and make its inputs.

    It is torch.compile that serves it, even where the runtime would have another way, with the options *compile* if
    there are any, else with the model's own: that it works is what the environment has to prove.

    Raises:
        DeployError: the model directory cannot be deployed.
    """
    envs.mkdir()
    with suppress(OSError):  # another file system: then deploy copies it
        os.link(archive.resolve(), envs / archive.name)
    deployment = deploy(
        archive,
        model,
        place.root / "models",
        # Whatever environment the model has: it is this one that is looked at.
        DeployOptions(layout="shared", shared=envs, replace=True),
        reporter=reporter,
    )
    config = read_config(deployment.folder).message
    if compile or (config.default_model_filename == RUNTIME_FILE and _COMPILE not in config.parameters):
        path = deployment.folder / "config.pbtxt"
        path.write_text(set_parameter(path.read_text(), _COMPILE, json.dumps(dict(compile))))
        config = read_config(deployment.folder).message
    config.name = deployment.model
    versions = [path.name for path in deployment.folder.iterdir() if path.is_dir() and path.name.isdigit()]
    folder = place.root / "verify"
    inputs = folder / "inputs.npz"
    sample.save(inputs, {size: sample.make_inputs(config, size) for size in sample.batch_sizes(config)})
    return Subject(
        place=place,
        deployment=deployment,
        config=config,
        version=max(versions, key=int),
        inputs=inputs,
        outputs=folder / "outputs.npz",
        compiler=compiler,
    )


# -- the probe -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """What a probe found under one launch."""

    launch: Launch
    answer: Mapping[str, Any] | None
    """None: it ended without one."""
    ended: str
    """How it ended, with its last lines."""
    seconds: float


def run_probe(subject: Subject, launch: Launch, *, timeout: float = PROBE_TIMEOUT) -> Probed:
    """Run the probe in the environment as *launch* runs a stub."""
    began = time.monotonic()
    place = subject.place
    caches = place.root / "verify" / f"cache-{launch}"
    caches.mkdir()
    job = {
        "task": "probe",
        "model": place.seen(subject.deployment.folder),
        "version": subject.version,
        "file": subject.file,
        "config": sample.as_stub_sees(subject.config),
        "inputs": place.seen(subject.inputs),
        "outputs": place.seen(subject.outputs),
        "caches": [place.seen(caches)],
    }
    variables = {"TORCHINDUCTOR_CACHE_DIR": place.seen(caches), "TRITON_CACHE_DIR": place.seen(caches)}
    done = run_guest(
        place, launch, f"probe-{launch}", job, variables=variables, hidden=subject.hidden, timeout=timeout
    )
    found, ended = None, done.how
    if done.answer is not None:
        try:
            found = check_answer(done.answer)
        except DocumentError as error:
            ended = f"{error}; {ended}"
    return Probed(launch=launch, answer=found, ended=ended, seconds=time.monotonic() - began)
