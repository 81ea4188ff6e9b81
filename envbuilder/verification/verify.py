"""``envbuilder verify``: prove that a release will load an archive, and that it answers right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import Manifest
from envbuilder.base.interpreter import find_interpreters
from envbuilder.catalog.triton import Launch, Release, find_release
from envbuilder.errors import AssembleError, DeployError, VerifyError
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe, VerifyOptions
from envbuilder.signing.verifier import Verifier
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.resources import sample_model
from envbuilder.verification.live.evaluate import check_probe, environment_facts
from envbuilder.verification.live.launch import Place
from envbuilder.verification.live.probe_packages import PackageProbe
from envbuilder.verification.live.run_probe import Probed, Subject, prepare, run_probe
from envbuilder.verification.origin.artifacts import local_folders
from envbuilder.verification.origin.check import check_origin
from envbuilder.verification.origin.locked import Surroundings
from envbuilder.verification.report import Check, Report, report_schema
from envbuilder.verification.server.ask import Interview
from envbuilder.verification.server.servers import SERVERS, ServerChoice, ServerFinder
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import Archive, open_archive
from envbuilder.verification.static.policy import check_contents
from envbuilder.verification.static.provenance import check_provenance
from envbuilder.verification.static.release import check_release

__all__ = ["Check", "Report", "VerifyRequest", "report_schema", "verify"]


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyRequest:
    """What is asked of an archive."""

    model: Path | None = None
    """The model directory to load, in any form that deploy takes; None: the sample model."""
    compile: Mapping[str, Any] = field(default_factory=dict)
    """``torch.compile`` options in place of the model's own."""
    releases: tuple[str, ...] = ()
    """Names of the Triton releases whose contract holds; none: the one that the archive was built for."""
    server: ServerChoice = ServerChoice()
    """Whether a real server is asked, and which."""
    lock: Lock | None = None
    """The lock that the archive should have been built from."""
    trusted: Verifier | None = None
    """Who must have signed the provenance beside the archive; None: that is not asked."""
    options: VerifyOptions | None = None
    """What its recipe asks of its contents."""
    recipe: Recipe | None = None
    """Its own recipe, where that is at hand."""
    isolate: bool = True
    """Run it in a mount namespace where this user may have one."""


def verify(archive: Path, session: Session, request: VerifyRequest = VerifyRequest()) -> Report:
    """Check *archive*, as ``envbuilder build`` wrote it, under the contract of each release of *request*.

    Returns: a report, also where checks failed.

    Raises:
        VerifyError: there is no archive, no disk to extract it on, or no server where one was asked for.
        RecipeError: no such release, or no such kind of server.
        PluginError: a server of another distribution cannot be used.
    """
    began = time.monotonic()
    chosen = [find_release(name) for name in request.releases]
    store, reporter = session.store, session.reporter
    finder = None if request.server.ask is False else SERVERS.get(request.server.kind)
    with store.scratch("verify") as scratch:
        place = Place.make(scratch / "root", isolate=request.isolate)
        opened = open_archive(archive, place.environment, lambda found: _places(found, store), reporter)
        run = _Run(
            opened=opened,
            place=place,
            scratch=scratch,
            session=session,
            releases=chosen,
        )
        run.check_statically(request)
        subject = run.check_probe(request.model or sample_model(), request.compile)
        if subject is not None and finder is not None:
            run.check_server(subject, finder, request.server)
        return run.report(time.monotonic() - began)


class _Run:
    """One verification under way: what is known so far."""

    def __init__(
        self,
        *,
        opened: Archive,
        place: Place,
        scratch: Path,
        session: Session,
        releases: Sequence[Release],
    ) -> None:
        self.opened = opened
        self.manifest = opened.manifest
        self.place = place
        self.scratch = scratch
        self.session = session
        self.releases = list(releases) or ([find_release(self.manifest.release)] if self.manifest else [])
        self.minor = _minor(self.manifest) if self.manifest else ""
        self.checks: list[Check] = []
        self.probes: dict[Launch, Probed] = {}
        self.server: str | None = None

    def check_statically(self, request: VerifyRequest) -> None:
        """Make every check that runs nothing of the archive."""
        self.session.reporter.step("Checking files")
        self.checks += check_archive(self.opened, request.lock)
        if request.trusted is not None:
            sha256 = self.opened.contents.sha256
            self.checks += check_provenance(self.opened.path, sha256, self.manifest, request.trusted)
        if request.options is not None:
            self.checks += check_contents(self.opened, request.options)
        for release in self.releases:
            self.checks += check_release(self.opened, release)
        self.session.reporter.step("Proving where each file comes from")
        around = Surroundings(
            store=self.session.store,
            folders=tuple(local_folders(self.session.settings.find_links)),
            recipe=request.recipe,
            reporter=self.session.reporter,
        )
        self.checks.append(check_origin(self.opened, request.lock, self.place, around))

    def check_probe(self, model: Path, compile: Mapping[str, Any]) -> Subject | None:
        """Run the probe under each release's launch; return the model that a server may be asked for."""
        broken = sorted({check.id for check in self.checks if check.status == "failed" and _stops(check)})
        manifest = self.manifest
        if broken or manifest is None:
            self._omit("contract.launch", f"nothing was run: {', '.join(broken)} failed")
            return None
        try:
            envs = self.scratch / "envs"
            subject = prepare(
                self.opened.path,
                model,
                self.place,
                envs,
                compile=compile,
                compiler=self.opened.compiler,
                reporter=self.session.reporter,
            )
        except DeployError as error:
            self.checks.append(
                Check(id="model.deployed", status="failed", found=error.message, fix=error.hint)
            )
            return None
        text = f"{model.name}: a repository with it can be made (version {subject.version}, {subject.file})"
        self.checks.append(Check(id="model.deployed", status="passed", found=text))
        packages = PackageProbe(
            archive=self.opened,
            place=self.place,
            store=self.session.store,
            scratch=self.scratch,
            reporter=self.session.reporter,
        )
        for release in self.releases:
            if release.launch not in self.probes:
                self.session.reporter.step(
                    f"Running the model, launched {release.launch} as by {release.name}"
                )
                self.probes[release.launch] = run_probe(subject, release.launch)
            self.checks += check_probe(
                self.probes[release.launch],
                release,
                manifest,
                self.place.isolated,
                compiler=self.opened.compiler,
            )
            if self.probes[release.launch].answer is not None:
                self.checks = packages.checked(self.checks, release, hidden=subject.hidden)
        if any(
            check.status == "failed"
            and check.id.startswith(("probe.", "contract."))
            and check.id != "probe.packages"
            for check in self.checks
        ):
            self._omit("server.start", "the probe failed: a server would say the same, less clearly")
            return None
        return subject

    def check_server(self, subject: Subject, finder: ServerFinder, choice: ServerChoice) -> None:
        """Ask a real server for the model, if there is one; where one was asked for there must be."""
        manifest = self.manifest
        assert manifest is not None  # or there would be no subject
        try:
            server = finder.find(choice.program, self.session, fetch=bool(choice.ask))
        except VerifyError as error:
            if choice.required:
                raise
            return self._omit("server.start", error.message)
        if self.minor not in server.pythons:
            has = ", ".join(server.pythons) or "none that is known"
            text = f"{server.describe()} has no stub for Python {self.minor} (it has {has})"
            return self._omit("server.start", text)
        self.session.reporter.step(f"Serving the model by {server.describe()}")
        numpy = environment_facts(list(self.probes.values())).get("numpy", "")
        log = self.scratch / "server.log"
        interview = Interview(
            server=server, subject=subject, manifest=manifest, python=self.minor, numpy=numpy
        )
        served = interview.hold(log, choice.ready_timeout)
        self.checks += served.checks
        self.server = served.server

    def _omit(self, id: str, why: str) -> None:
        self.checks.append(Check(id=id, status="omitted", found=why))

    def report(self, seconds: float) -> Report:
        """Return what was found."""
        return Report(
            archive=str(self.opened.path),
            sha256=self.opened.contents.sha256,
            size=self.opened.contents.size,
            unpacked_size=self.opened.contents.unpacked_size,
            recipe=self.manifest.recipe if self.manifest else None,
            releases=tuple(release.name for release in self.releases),
            isolated=self.place.isolated,
            server=self.server,
            environment=environment_facts(list(self.probes.values())),
            checks=tuple(self.checks),
            seconds=seconds,
        )


def _places(manifest: Manifest | None, store: Store) -> list[Path]:
    """Return folders of this machine that an environment must not name."""
    places = [store.root]
    if manifest is not None:
        with suppress(AssembleError):
            found, _ = find_interpreters(_minor(manifest))
            places += [interpreter.prefix for interpreter in found]
    return [place for place in places if place not in (Path("/"), Path("/usr"), Path("/usr/local"))]


def _minor(manifest: Manifest) -> str:
    return ".".join(manifest.python.split(".")[:2])


def _stops(check: Check) -> bool:
    """Say whether an archive that failed *check* can be run at all."""
    return (
        check.id.startswith(("archive.", "layout.", "manifest.", "provenance."))
        or check.id == "system.libstdcxx"
    )
