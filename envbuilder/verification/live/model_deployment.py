"""Deploy the models of a verification into its sandbox: complete their configurations, and read their inputs."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from envbuilder.catalog.triton import Release
from envbuilder.deployment.versions import served_versions
from envbuilder.errors import DeployError, VerifyError
from envbuilder.progress import Reporter
from envbuilder.util.files import file_sha256
from envbuilder.util.resources import sample_model
from envbuilder.verification.live.deployed import DeployedModel, prepare
from envbuilder.verification.live.described import find_fault
from envbuilder.verification.live.evaluate_model import ASK_A_SERVER, newer_name
from envbuilder.verification.live.inputs import NOT_ASKED
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.questions import questions_for
from envbuilder.verification.live.repository import (
    Wanted,
    deploy_models,
    knowing_each_other,
    wanted_models,
    with_those_it_names,
)
from envbuilder.verification.live.run_probe import CompletionError, complete
from envbuilder.verification.report import Check, check, failed, passed


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Which models to verify, and with which requests."""

    model: Path | None = None
    """A model directory, in any form that deploy takes; None, and no repository: the sample model."""
    repository: Path | None = None
    """A model repository, whose models use their own environments or the archive."""
    names: tuple[str, ...] = ()
    """Models of the repository; empty: all."""
    inputs: Path | None = None
    """Inputs of the model, see :mod:`envbuilder.verification.live.input_files`; None: its warm-up, or generated."""
    expected: Path | None = None
    """Its expected outputs."""
    tolerance: Mapping[str, float] | None = None
    """``rtol`` and ``atol`` for those; None: the defaults."""

    def wanted(self) -> Wanted:
        """Return the model directories.

        Raises:
            VerifyError: there is no such repository, it has no such model, or inputs are given for several models.
        """
        if self.repository is not None:
            if self.inputs is not None and len(self.names) != 1:
                raise VerifyError(
                    f"{self.inputs} is what one model is asked, and {self.repository} has several",
                    hint="name that model, and verify the others by themselves",
                )
            return wanted_models(self.repository, self.names)
        return with_those_it_names(self.path)

    @property
    def path(self) -> Path:
        """The model directory, if it is not a repository."""
        return self.model or sample_model()


@dataclass(kw_only=True)
class ModelDeployment:
    """Deploys models with an archive."""

    archive: Path
    sandbox: Sandbox
    envs: Path
    """The folder for the environments of the sandbox's repository."""
    compile: Mapping[str, Any]
    compiler: str | None
    reporter: Reporter
    many: bool = False
    """Whether the repository contains more than one model."""
    environments: set[Path] = field(default_factory=set)
    """The archive, as it was deployed."""

    def deploy(
        self, asked: ModelChoice, release: Release | None, models: list[DeployedModel]
    ) -> Iterator[Check]:
        """Deploy the models that are *asked* for, add them to *models*, and yield checks.

        ``auto_complete_config`` runs as under *release*; without one configurations stay incomplete.
        """
        try:
            wanted = asked.wanted()
            prepared = functools.partial(
                prepare,
                self.archive,
                sandbox=self.sandbox,
                envs=self.envs,
                compile=self.compile,
                compiler=self.compiler,
                reporter=self.reporter,
            )
            placed = deploy_models(
                wanted,
                self.archive,
                self.sandbox,
                prepared,
                keep_environments=asked.repository is not None,
            )
        except (DeployError, VerifyError) as error:
            yield Check(id="model.deployed", status="failed", found=error.message, fix=error.hint)
            return
        found = placed.models
        older = {one.name: served_versions(one.folder, one.config)[:-1] for one in (*found, *placed.others)}
        self.many = len(wanted.models) + len(wanted.others) > 1 or any(older[one.name] for one in found)
        for name, refusal in placed.refused.items():
            text = f"{name}: {refusal.message}" if asked.repository is not None else refusal.message
            yield Check(id="model.deployed", status="failed", found=text, fix=refusal.hint)
        for deployed in found:
            if deployed.deployment is not None:
                self.environments.add(deployed.deployment.environment)
            name = deployed.name if asked.repository is not None else asked.path.name
            text = f"{name}: deployed to a test repository (version {deployed.version}, {deployed.file})"
            if older[deployed.name]:
                text += f"; it also serves {', '.join(older[deployed.name])}"
            yield passed("model.deployed", text)
        if wanted.others:
            beside = ", ".join(path.name for path in wanted.others)
            yield passed("model.deployed", f"deployed with it, as models it may call: {beside}")
        completed: list[DeployedModel] = []
        for deployed in found:
            for one in _with_older(deployed, older[deployed.name]):
                whole, said = self._complete(one, release)
                completed.append(whole)
                yield from said
        others = [
            self._complete(one, release)[0]
            for deployed in placed.others
            for one in _with_older(deployed, older[deployed.name])
        ]
        for deployed in knowing_each_other(completed, others):
            if not deployed.older or any(one.name == deployed.name for one in models):
                yield from self._ready(deployed, asked, models)

    def is_unchanged(self, sha256: str) -> bool:
        """Return whether the archive with that *sha256* was deployed."""
        return all(file_sha256(path) == sha256 for path in self.environments)

    def _complete(
        self, deployed: DeployedModel, release: Release | None
    ) -> tuple[DeployedModel, list[Check]]:
        """Return *deployed* with its configuration completed as far as possible here, and checks if it is not."""
        if release is None or deployed.apart is not None:
            return replace(deployed, incomplete=True), []
        try:
            return complete(deployed, release.launch, lacks=release.lacks), []
        except VerifyError as error:
            newer = newer_name(error.failed) if isinstance(error, CompletionError) else None
            if newer is not None:
                made = check("probe.names", "failed", *newer, release)
                return replace(deployed, incomplete=True), [
                    made.of_model(deployed.title) if self.many else made
                ]
            fix = "correct it: a server loads no model where it fails; or describe all in config.pbtxt, without it"
            made = Check(id="probe.config", status="unknown", found=f"not known: {error.message}", fix=fix)
            return replace(deployed, incomplete=True), [made.of_model(deployed.title) if self.many else made]

    def _ready(
        self, deployed: DeployedModel, asked: ModelChoice, models: list[DeployedModel]
    ) -> Iterator[Check]:
        """Read the requests of *deployed*, and add it to *models*."""
        config, folder, unsure = deployed.config, deployed.folder, deployed.incomplete
        fault = find_fault(config, folder, incomplete=unsure) if deployed.own else None
        if fault is not None:
            if not deployed.older:
                shutil.rmtree(folder)  # it may prevent others from being served
            yield failed("model.deployed", f"{deployed.title}: no server takes it: {fault[0]}", fault[1])
            return
        read = functools.partial(
            questions_for,
            folder=folder,
            inputs=asked.inputs,
            expected=asked.expected,
            tolerance=asked.tolerance,
        )
        unasked = not config.input or find_fault(config, folder) is not None
        questions = NOT_ASKED
        try:
            questions = NOT_ASKED if deployed.own and unasked else read(config)
        except VerifyError as error:
            if not unsure:
                text = f"{deployed.title}: {error.message}" if self.many else error.message
                yield failed("model.inputs", text, error.hint or "give other inputs: `--inputs FILE`")
                return
        if not questions.cases or not config.input:
            text = f"{deployed.title}: what it takes is not known: its configuration has no complete inputs"
            fix = f"describe its inputs in config.pbtxt, or {ASK_A_SERVER}"
            yield Check(id="model.inputs", status="unknown", found=text, fix=fix)
            if not deployed.own:
                return
        elif not questions.made_up:
            yield passed("model.inputs", f"{deployed.title} gets requests from {questions.source}")
        models.append(replace(deployed, questions=questions, read_questions=read))


def _with_older(deployed: DeployedModel, versions: Sequence[str]) -> list[DeployedModel]:
    """Return a model, and its older *versions* that are served, too.

    Each version completes the configuration by itself, and a server loads none if one of them fails.
    """
    return [deployed, *(replace(deployed, version=one, older=True) for one in versions)]
