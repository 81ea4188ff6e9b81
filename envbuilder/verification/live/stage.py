"""The live checks: deploy models with an archive, and run the environment as each release does."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import Launch, Release
from envbuilder.recipe.model import Recipe
from envbuilder.store.session import Session
from envbuilder.verification.failures import guarded
from envbuilder.verification.live import foreign
from envbuilder.verification.live.deployed import DeployedModel, serve_in_place
from envbuilder.verification.live.evaluate import check_probe, environment_facts
from envbuilder.verification.live.evaluate_model import facts_of
from envbuilder.verification.live.launch import Sandbox
from envbuilder.verification.live.model_deployment import ModelChoice, ModelDeployment
from envbuilder.verification.live.probe_packages import PackageProbe
from envbuilder.verification.live.run_probe import Probed, run_probe
from envbuilder.verification.report import Check, check, failed
from envbuilder.verification.static.extracted import Archive
from envbuilder.verification.static.foreign_release import base_python
from envbuilder.verification.static.needs import settle_needs


@dataclass(kw_only=True, slots=True)
class LiveStage:
    """Runs the archive *extracted*, extracted in *sandbox*, with models."""

    extracted: Archive
    sandbox: Sandbox
    manifest: Manifest
    releases: Sequence[Release]
    choice: ModelChoice
    """Which models to verify, and with which requests."""
    compile: Mapping[str, Any]
    session: Session
    scratch: Path
    recipe: Recipe | None = None
    """The recipe of the archive, if available."""
    models: list[DeployedModel] = field(default_factory=list)
    """The models that are verified, once deployed."""
    many: bool = False
    """Whether the repository contains more than one model."""
    probes: dict[tuple[str, Launch, tuple[str, ...]], Probed] = field(default_factory=dict)
    """The probe's results, by model, launch, and the names that the release lacks."""
    met: dict[Release, list[tuple[str, str]]] = field(default_factory=dict)
    """Packages whose import failed, each with the missing library."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment's own versions, times and devices."""
        return environment_facts(list(self.probes.values()))

    @property
    def whole(self) -> bool:
        """Whether the user named the repository, so that it has every model there will be."""
        return self.choice.repository is not None

    def deploy(self, found: list[Check]) -> None:
        """Deploy the models with the archive; checks on that are added to *found*."""
        found.extend(guarded("model.deployed", self._deploy))

    def _deploy(self) -> Iterator[Check]:
        extracted = self.extracted
        deployment = ModelDeployment(
            archive=extracted.path,
            sandbox=self.sandbox,
            envs=self.scratch / "envs",
            compile=self.compile,
            compiler=extracted.compiler,
            reporter=self.session.reporter,
        )
        models: list[DeployedModel] = []
        yield from deployment.deploy(self._chosen(), self.releases[0] if self.releases else None, models)
        if extracted.folder is not None and base_python(extracted) is not None:
            serve_in_place(models, extracted.folder)
        if models and not deployment.is_unchanged(extracted.contents.sha256):
            text = f"{extracted.path.name} was replaced by another archive during verification"
            yield failed("archive.unchanged", text, "verify it in a folder that no other process writes to")
            return
        self.many = deployment.many
        self.models = models

    def _chosen(self) -> ModelChoice:
        """Return the requested models; a sample without torch if a foreign environment lacks it."""
        choice = self.choice
        if self.manifest.torch or choice.model is not None or choice.repository is not None:
            return choice
        return replace(choice, model=foreign.model_without_torch(self.scratch))

    def probe(self, found: list[Check]) -> bool:
        """Run the models, and import every package, under each release's launch; add the checks to *found*.

        Returns: whether all checks passed.
        """
        packages = PackageProbe(
            archive=self.extracted,
            sandbox=self.sandbox,
            store=self.session.store,
            scratch=self.scratch,
            reporter=self.session.reporter,
            recipe=self.recipe,
        )
        for release in self.releases:
            for deployed in self.models:
                run = functools.partial(self._probe, deployed, release, found)
                found.extend(guarded("contract.launch", run, release))
            load = functools.partial(self._import_packages, packages, self.models[0], release)
            found.extend(guarded("probe.packages", load, release))
        return not any(
            check.status == "failed"
            and check.id.startswith(("probe.", "contract."))
            and check.id != "probe.packages"
            for check in found
        )

    def _probe(self, deployed: DeployedModel, release: Release, found: Sequence[Check]) -> Iterator[Check]:
        if deployed.apart is not None:
            text = f"{deployed.title}: it {deployed.apart}; only a server can test it"
            yield check("probe.model", "omitted", text, None, release)
            return
        lacks = release.lacks if deployed.own else ()  # the runtime uses only what every release has
        key = (deployed.title, release.launch, lacks)
        if key not in self.probes:
            self.session.reporter.step(
                f"Running {deployed.title}, launched {release.launch} as by {release.name}"
            )
            brief = any("child" in (probed.answer or {}) for probed in self.probes.values())
            self.probes[key] = run_probe(deployed, release.launch, lacks=lacks, brief=brief)
        subject = facts_of(deployed, self.probes[key], self.extracted, whole=self.whole)
        made = list(
            check_probe(self.probes[key], release, self.manifest, self.sandbox.isolated, subject=subject)
        )
        if self.extracted.is_foreign:
            base = base_python(self.extracted)
            made = foreign.probed(made, torch=bool(self.manifest.torch), base=base)
        told = any(one.id == "contract.isolation" and one.release == release.name for one in found)
        for one in made:
            if not told or not one.id.startswith("contract.") or one.status == "failed":
                yield one.of_model(deployed.title) if self.many else one

    def _import_packages(
        self, packages: PackageProbe, deployed: DeployedModel, release: Release
    ) -> Iterator[Check]:
        probed = [found for (_, launch, _), found in self.probes.items() if launch == release.launch]
        if any(found.answer is not None for found in probed):
            imported = packages.imported(release, hidden=deployed.hidden)
            used = {name for one in probed for name in (one.answer or {}).get("imported", ())}
            made = packages.checks(imported, release, used)
            yield from foreign.imported(made, release) if self.extracted.is_foreign else made
            if imported.found is not None:
                self.met[release] = packages.missed(imported, release)

    def answers_of(self, deployed: DeployedModel) -> Mapping[str, Any] | None:
        """Return the results of the last probe that has outputs of the model: it wrote the file."""
        found = [probed.served for (name, _, _), probed in self.probes.items() if name == deployed.title]
        return next((one for one in reversed(found) if one is not None), None)

    def is_silent(self, deployed: DeployedModel) -> bool:
        """Return whether a probe waited in vain for a response of the model."""
        answers = [probed.answer for (name, _, _), probed in self.probes.items() if name == deployed.title]
        return any(
            "its client waits" in (answer or {}).get("failed", {}).get("text", "") for answer in answers
        )

    def settle(self, found: list[Check]) -> None:
        """Update the checks on required libraries in *found*, now that every package was imported."""
        for release, met in self.met.items():
            found[:] = settle_needs(found, self.extracted, release, met)
