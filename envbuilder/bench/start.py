"""Measure the time from the start of a real server to its first correct response."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tritonclient.grpc

from envbuilder.aot.precompile import precompile
from envbuilder.archive.manifest import MANIFEST_PATH
from envbuilder.archive.names import read_archive
from envbuilder.bench.baseline import deploy_baseline, pack_baseline
from envbuilder.bench.compilers import CompilerCount
from envbuilder.bench.inodes import KeptInodes, kept_inodes
from envbuilder.bench.timeline import PHASES, read_phases
from envbuilder.deployment.config import CONFIG, read_config
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import VerifyError
from envbuilder.foreign.deployable import describe_foreign
from envbuilder.guest.equality import differences, largest_difference
from envbuilder.progress import SILENT, Reporter
from envbuilder.verification.live import inputs
from envbuilder.verification.server.cleanup import extractions
from envbuilder.verification.server.process import RunningServer
from envbuilder.verification.server.servers import StartOptions
from envbuilder.verification.server.tritonserver import TritonServer

_ROWS: Final = 3
_UNCOMPILED: Final = ("TORCH_COMPILE_OPTIONAL_PARAMETERS", '{"disable": true}')


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """One start of a server."""

    deployment: str
    """``baseline``, ``archive``, ``unpacked`` or ``mounted``."""
    precompiled: bool
    restart: bool
    """Whether it is a restart, with the caches of an earlier start."""
    seconds: float
    """Seconds from the start of the server to the first correct response."""
    phases: Mapping[str, float]
    """Seconds of each of :data:`envbuilder.bench.timeline.PHASES`."""
    compilations: int
    """How many times a compiler ran."""
    difference: float
    """The largest difference between its response and eager."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelStarts:
    """The starts of one model."""

    model: str
    starts: tuple[Start, ...]
    archive_ratio: float
    """How many times as fast as the baseline the precompiled archive is, each started for the first time: the
    fastest of the rounds, as disks and other programs only ever make a start slower."""
    unpacked_ratio: float
    mounted_ratio: float | None
    """None: not measured."""
    compiles_on_restart: int
    """Runs of a compiler in all restarts of our deployments."""
    difference_precompiled: float
    """The largest difference from eager of a precompiled answer."""
    difference_compiled: float
    """The same for ``torch.compile`` itself, in the baseline."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Starts:
    """Everything that was measured, in one run."""

    archive: str
    server: str
    models: tuple[ModelStarts, ...]

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the rows of a table."""
        for model in self.models:
            for start in model.starts:
                compiled = "ahead of time" if start.precompiled else "when served"
                yield (
                    model.model,
                    start.deployment,
                    compiled,
                    "again" if start.restart else "first",
                    f"{start.seconds:.1f}",
                    *(f"{start.phases[phase]:.1f}" for phase in PHASES),
                    str(start.compilations),
                )

    def lines(self) -> Iterator[str]:
        """Yield the conclusions below the table."""
        for model in self.models:
            mounted = f", mounted {model.mounted_ratio:.1f} times" if model.mounted_ratio is not None else ""
            yield (
                f"{model.model}: archive {model.archive_ratio:.1f} times as fast as the baseline, unpacked "
                f"{model.unpacked_ratio:.1f} times{mounted}; compilers run in restarts: {model.compiles_on_restart}; "
                f"from eager: precompiled {model.difference_precompiled:.2g}, "
                f"torch.compile {model.difference_compiled:.2g}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StartChoice:
    """What to start, and how often."""

    uncompiled: bool = True
    """Whether to include deployments that are compiled while serving."""
    rounds: int = 2
    """How often each is started for the first time, and restarted."""
    mounted_at: Path | None = None
    """Where the archive's image is mounted, to measure that, too."""


HEADINGS: Final = ("model", "deployment", "compiled", "start", "seconds", *PHASES, "compilers run")


def measure_starts(
    archive: Path,
    models: Sequence[Path],
    scratch: Path,
    *,
    server: TritonServer,
    choice: StartChoice | None = None,
    reporter: Reporter = SILENT,
) -> Starts:
    """Measure how long a real server takes to its first correct response, for each of *models*.

    Args:
        archive: as ``envbuilder build`` wrote it.
        models: model directories whose module needs no weights file.
        scratch: an empty folder.
        server: the server to start.
        choice: what to start; default: everything except a mount, twice.

    Raises:
        VerifyError: a server does not become ready, or a response is wrong.
        DeployError: a model cannot be deployed.
    """
    choice = choice or StartChoice()
    mounted_at = choice.mounted_at
    manifest, sha256 = read_archive(archive, describe=describe_foreign)
    if mounted_at is not None and not (mounted_at / MANIFEST_PATH).is_file():
        raise VerifyError(
            f"no image of an environment is mounted at {mounted_at}", hint="`envbuilder image` writes one"
        )
    with kept_inodes() as inodes:
        bench = _Bench(
            archive=archive,
            scratch=scratch,
            server=server,
            python=".".join(manifest.python.split(".")[:2]),
            compilers=CompilerCount(scratch / "compilers"),
            inodes=inodes,
            choice=choice,
            image=f"oci://localhost/{manifest.recipe.lower()}@sha256:{sha256}",
            reporter=reporter,
        )
        reporter.step("Packing the same environment with conda-pack, without bytecode")
        pack_baseline(archive, scratch, bench.baseline_archive)
        measured = [bench.measure(model) for model in models]
    return Starts(archive=archive.name, server=server.describe(), models=tuple(measured))


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """The common parts of all measurements of a run."""

    archive: Path
    scratch: Path
    server: TritonServer
    python: str
    compilers: CompilerCount
    inodes: KeptInodes
    choice: StartChoice
    image: str
    """A placeholder for the image in the cluster's manifests, which are not used here."""
    reporter: Reporter

    @property
    def baseline_archive(self) -> Path:
        return self.scratch / "baseline.tar.gz"

    def measure(self, model: Path) -> ModelStarts:
        """Start every deployment of one model."""
        name = read_config(model).message.name or model.name
        folder = self.scratch / name
        folder.mkdir()
        self.reporter.step(f"Compiling {name} ahead of time")
        (folder / "compile").mkdir()
        compiled = precompile(self.archive, model, folder / "compile", reporter=self.reporter)
        deploy_baseline(model, self.baseline_archive, folder / "baseline")
        plans = [("archive", True), ("unpacked", True)]
        plans += [("mounted", True)] if self.choice.mounted_at is not None else []
        plans += [("archive", False), ("unpacked", False)] if self.choice.uncompiled else []
        for deployment, ahead in plans:
            deploy(
                self.archive,
                model,
                folder / _label(deployment, ahead),
                self._options(deployment, folder),
                compiled=compiled if ahead else (),
            )
        expected = self._eager(model, folder, name)
        starts = []
        for _ in range(self.choice.rounds):
            for deployment, ahead in [("baseline", False), *plans]:
                shutil.rmtree(_caches(folder, deployment, ahead), ignore_errors=True)
                for restart in (False, True):
                    start = self._start(folder, name, deployment, ahead, restart=restart, expected=expected)
                    starts.append(start)
        return summed(name, starts)

    def _options(self, deployment: str, folder: Path) -> DeployOptions:
        # The model's own environment, if any, is replaced by the measured one.
        if deployment == "mounted":
            return DeployOptions(
                layout="image",
                image=self.image,
                mounted_at=str(self.choice.mounted_at),
                manifests=folder / "kubernetes",
                replace=True,
            )
        return DeployOptions(
            layout="shared", shared=self.scratch / "envs", unpacked=deployment == "unpacked", replace=True
        )

    def _eager(self, model: Path, folder: Path, name: str) -> Mapping[str, np.ndarray[Any, Any]]:
        """Return the outputs of the uncompiled model."""
        copy = shutil.copytree(model, folder / "eager-model" / name)
        config = copy / CONFIG
        config.write_text(set_parameter(config.read_text(), *_UNCOMPILED))
        deploy(
            self.archive,
            copy,
            folder / "eager",
            DeployOptions(layout="shared", shared=self.scratch / "envs", unpacked=True, replace=True),
        )
        with self.server.start(folder / "eager", python=self.python, log=folder / "eager.log") as running:
            return self._ask(running, folder / "eager" / name)

    def _start(
        self,
        folder: Path,
        name: str,
        deployment: str,
        ahead: bool,
        *,
        restart: bool,
        expected: Mapping[str, np.ndarray[Any, Any]],
    ) -> Start:
        label = _label(deployment, ahead)
        self.reporter.step(f"Starting {name}: {label}, {'again' if restart else 'for the first time'}")
        log = folder / f"{label}.log"
        env = {
            "PATH": f"{self.compilers.folder}:/usr/local/bin:/usr/bin:/bin",
            "TORCHINDUCTOR_CACHE_DIR": str(_caches(folder, deployment, ahead)),
        }
        before, others = self.compilers.count(), extractions()
        os.sync()  # so that this start does not wait for earlier writes
        began = time.time()
        options = StartOptions(env=env, extra_args=("--log-verbose=1",), pause=0.02)
        with self.server.start(folder / label, python=self.python, log=log, options=options) as running:
            ready = time.time()
            answer = self._ask(running, folder / label / name)
            answered = time.time()
            difference = _difference(answer, expected, running)
            self.inodes.keep(extractions() - others)
        self.inodes.empty()
        phases = read_phases(log.read_text(errors="replace"), began=began, ready=ready, answered=answered)
        return Start(
            deployment=deployment,
            precompiled=ahead,
            restart=restart,
            seconds=answered - began,
            phases=phases,
            compilations=self.compilers.count() - before,
            difference=difference,
        )

    def _ask(self, running: RunningServer, model: Path) -> Mapping[str, np.ndarray[Any, Any]]:
        config = read_config(model).message
        tensors = []
        for field in config.input:
            array = inputs.make_inputs(config, _ROWS)[field.name]
            tensor = tritonclient.grpc.InferInput(field.name, list(array.shape), inputs.data_type(field))
            tensor.set_data_from_numpy(array)
            tensors.append(tensor)
        with tritonclient.grpc.InferenceServerClient(running.grpc) as client:
            result = client.infer(model.name, tensors)
            return {field.name: result.as_numpy(field.name) for field in config.output}


def _label(deployment: str, ahead: bool) -> str:
    return f"{deployment}-precompiled" if ahead else deployment


def _caches(folder: Path, deployment: str, ahead: bool) -> Path:
    return folder / f"caches-{_label(deployment, ahead)}"


def _difference(
    answer: Mapping[str, np.ndarray[Any, Any]],
    expected: Mapping[str, np.ndarray[Any, Any]],
    running: RunningServer,
) -> float:
    """Return the largest difference of a correct response.

    Raises:
        VerifyError: it is wrong.
    """
    differing = differences(answer, expected)
    if differing:
        raise VerifyError(f"a response is wrong: {'; '.join(differing)}\n{running.last_lines()}")
    return largest_difference(answer, expected)


def summed(name: str, starts: Sequence[Start]) -> ModelStarts:
    """Return the conclusions from the *starts* of one model."""
    first: dict[tuple[str, bool], float] = {}
    for s in starts:
        if not s.restart:
            kind = s.deployment, s.precompiled
            first[kind] = min(s.seconds, first.get(kind, s.seconds))
    ours = [s for s in starts if s.deployment != "baseline"]
    return ModelStarts(
        model=name,
        starts=tuple(starts),
        archive_ratio=first["baseline", False] / first["archive", True],
        unpacked_ratio=first["baseline", False] / first["unpacked", True],
        mounted_ratio=first["baseline", False] / first["mounted", True]
        if ("mounted", True) in first
        else None,
        compiles_on_restart=sum(s.compilations for s in ours if s.restart),
        difference_precompiled=max(s.difference for s in ours if s.precompiled),
        difference_compiled=max(s.difference for s in starts if s.deployment == "baseline"),
    )
