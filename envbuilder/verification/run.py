"""One verification under way: which checks are made, in which order, and what is known after each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import Manifest
from envbuilder.base.interpreter import find_interpreters
from envbuilder.catalog.triton import Launch, Release, find_release
from envbuilder.errors import AssembleError, DeployError, EnvbuilderError, VerifyError
from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe, VerifyOptions
from envbuilder.signing.verifier import Verifier
from envbuilder.store.local import Store
from envbuilder.store.session import Session
from envbuilder.util.files import file_sha256
from envbuilder.util.resources import sample_model
from envbuilder.verification.guard import ended, fix, guarded
from envbuilder.verification.live.evaluate import check_probe, environment_facts
from envbuilder.verification.live.launch import Place
from envbuilder.verification.live.probe_packages import PackageProbe
from envbuilder.verification.live.run_probe import Probed, Subject, prepare, run_probe
from envbuilder.verification.origin.artifacts import local_folders
from envbuilder.verification.origin.check import check_origin
from envbuilder.verification.origin.locked import Surroundings
from envbuilder.verification.report import Check, Report, failed, passed, unread
from envbuilder.verification.server.ask import Interview
from envbuilder.verification.server.servers import SERVERS, Server, ServerChoice, ServerFinder
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import Archive, open_archive
from envbuilder.verification.static.policy import check_contents
from envbuilder.verification.static.provenance import check_provenance
from envbuilder.verification.static.release import check_release


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


class Run:
    """One verification under way."""

    scratch: Path
    place: Place
    opened: Archive

    def __init__(self, archive: Path, session: Session, request: VerifyRequest) -> None:
        self.archive = archive
        self.session = session
        self.request = request
        self.began = time.monotonic()
        self.manifest: Manifest | None = None
        self.releases: list[Release] = []
        self.checks: list[Check] = []
        self.probes: dict[Launch, Probed] = {}
        self.server: str | None = None
        self._ended = False

    @property
    def minor(self) -> str:
        """The minor version of the environment's Python."""
        return _minor(self.manifest) if self.manifest else ""

    def make_checks(self, scratch: Path) -> None:
        """Make every check that can be made; *scratch* is a folder that is gone afterwards.

        Raises:
            VerifyError, RecipeError: see :func:`verify`.
        """
        self.scratch = scratch
        self.releases = [find_release(name) for name in self.request.releases]
        server = self.request.server
        finder = None if server.ask is False else SERVERS.get(server.kind)
        self.place = Place.make(scratch / "root", isolate=self.request.isolate)
        store, reporter = self.session.store, self.session.reporter
        try:
            self.opened = open_archive(
                self.archive, self.place.environment, lambda found: _places(found, store), reporter
            )
        except VerifyError as error:
            self.checks.append(failed("archive.readable", error.message, fix(error)))
            raise
        self.manifest = self.opened.manifest
        if self.manifest is not None and not self.releases:
            release = self.manifest.release
            self.checks += guarded("manifest.release", lambda: self.releases.append(find_release(release)))
        self.check_statically()
        subject = self.check_probe()
        if subject is not None and finder is not None:
            self.check_server(subject, finder)

    def check_statically(self) -> None:
        """Make every check that runs nothing of the archive but its Python, to compile."""
        self.session.reporter.step("Checking files")
        opened, request = self.opened, self.request
        self.checks += check_archive(opened, request.lock)
        if request.trusted is not None:
            trusted, sha256 = request.trusted, opened.contents.sha256
            self.checks += guarded(
                "provenance.signature",
                lambda: check_provenance(opened.path, sha256, self.manifest, trusted),
            )
        if request.options is not None:
            options = request.options
            self.checks += guarded("contents.sbom", lambda: check_contents(opened, options))
        for release in self.releases:
            self.checks += check_release(opened, release)
        self.session.reporter.step("Proving where each file comes from")
        around = Surroundings(
            store=self.session.store,
            folders=tuple(local_folders(self.session.settings.find_links)),
            recipe=request.recipe,
            reporter=self.session.reporter,
        )
        self.checks += guarded(
            "manifest.origin", lambda: check_origin(opened, request.lock, self.place, around)
        )

    def check_probe(self) -> Subject | None:
        """Run the probe under each release's launch; return the model that a server may be asked for."""
        broken = sorted({check.id for check in self.checks if check.status == "failed" and _stops(check)})
        if broken or self.manifest is None:
            self._omit("contract.launch", f"nothing was run: {', '.join(broken)} failed")
            return None
        subjects: list[Subject] = []
        self.checks += guarded("model.deployed", lambda: self._deploy(subjects))
        packages = PackageProbe(
            archive=self.opened,
            place=self.place,
            store=self.session.store,
            scratch=self.scratch,
            reporter=self.session.reporter,
        )
        for subject in subjects:
            for release in self.releases:
                run = functools.partial(self._probe, subject, release, self.manifest)
                self.checks += guarded("contract.launch", run, release)
                load = functools.partial(self._import_packages, packages, subject, release)
                self.checks += list(guarded("probe.packages", load, release))
        probed = [check for check in self.checks if check.id.startswith(("probe.", "contract."))]
        wrong = [check for check in probed if check.status == "failed" and check.id != "probe.packages"]
        if subjects and wrong:
            self._omit("server.start", "the probe failed: a server would say the same, less clearly")
            return None
        return subjects[0] if subjects else None

    def _deploy(self, subjects: list[Subject]) -> Iterator[Check]:
        """Deploy the model with the archive, and add it to *subjects*."""
        model, opened = self.request.model or sample_model(), self.opened
        try:
            subject = prepare(
                opened.path,
                model,
                self.place,
                self.scratch / "envs",
                compile=self.request.compile,
                compiler=opened.compiler,
                reporter=self.session.reporter,
            )
        except DeployError as error:
            yield Check(id="model.deployed", status="failed", found=error.message, fix=error.hint)
            return
        text = f"{model.name}: a repository with it can be made (version {subject.version}, {subject.file})"
        yield passed("model.deployed", text)
        if file_sha256(subject.deployment.environment) != opened.contents.sha256:
            text = f"{opened.path.name} was exchanged for another archive while it was verified"
            yield failed("archive.unchanged", text, "verify it where nobody else writes")
            return
        subjects.append(subject)

    def _probe(self, subject: Subject, release: Release, manifest: Manifest) -> Iterator[Check]:
        if release.launch not in self.probes:
            self.session.reporter.step(f"Running the model, launched {release.launch} as by {release.name}")
            self.probes[release.launch] = run_probe(subject, release.launch)
        yield from check_probe(
            self.probes[release.launch],
            release,
            manifest,
            self.place.isolated,
            compiler=self.opened.compiler,
        )

    def _import_packages(self, packages: PackageProbe, subject: Subject, release: Release) -> None:
        probed = self.probes.get(release.launch)
        if probed is not None and probed.answer is not None:
            self.checks[:] = packages.checked(self.checks, release, hidden=subject.hidden)

    def check_server(self, subject: Subject, finder: ServerFinder) -> None:
        """Ask a real server for the model, if there is one; where one was asked for there must be."""
        choice = self.request.server
        try:
            server = finder.find(choice.program, self.session, fetch=bool(choice.ask))
        except VerifyError as error:
            if choice.required:
                self.checks.append(failed("server.start", error.message, fix(error)))
                raise
            return self._omit("server.start", error.message)
        if self.minor not in server.pythons:
            has = ", ".join(server.pythons) or "none that is known"
            text = f"{server.describe()} has no stub for Python {self.minor} (it has {has})"
            return self._omit("server.start", text)
        self.session.reporter.step(f"Serving the model by {server.describe()}")
        self.checks += guarded("server.start", lambda: self._ask(server, subject))

    def _ask(self, server: Server, subject: Subject) -> Iterator[Check]:
        assert self.manifest is not None  # or there would be no subject
        numpy = environment_facts(list(self.probes.values())).get("numpy", "")
        interview = Interview(
            server=server, subject=subject, manifest=self.manifest, python=self.minor, numpy=numpy
        )
        served = interview.hold(self.scratch / "server.log", self.request.server.ready_timeout)
        self.server = served.server
        yield from served.checks

    def _omit(self, id: str, why: str) -> None:
        self.checks.append(Check(id=id, status="omitted", found=why))

    def end(self, error: BaseException, write: Callable[[Report], None]) -> None:
        """Write what was found until *error*, once."""
        if self._ended:
            return
        self._ended = True
        self.checks.append(ended(error))
        with suppress(EnvbuilderError, OSError):  # what ended it is to be told, not that
            write(self.report())

    def report(self) -> Report:
        """Return what was found."""
        seconds = time.monotonic() - self.began
        opened: Archive | None = getattr(self, "opened", None)
        if opened is None:
            return unread(self.archive, self.checks, seconds)
        return Report(
            archive=str(self.archive),
            sha256=opened.contents.sha256,
            size=opened.contents.size,
            unpacked_size=opened.contents.unpacked_size,
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
