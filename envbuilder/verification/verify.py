"""``envbuilder verify``: prove that a release will load an archive, and that it answers right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from envbuilder.archive.manifest import Manifest
from envbuilder.base.interpreter import find_interpreters
from envbuilder.catalog.triton import Launch, Release, find_release
from envbuilder.config.settings import Settings
from envbuilder.errors import AssembleError, DeployError, VerifyError
from envbuilder.lockfile.model import Lock
from envbuilder.progress import SILENT, Reporter
from envbuilder.recipe.model import VerifyOptions
from envbuilder.signing.verifier import Verifier
from envbuilder.store.local import Store
from envbuilder.util.resources import sample_model
from envbuilder.verification.live.evaluate import check_probe, environment_facts
from envbuilder.verification.live.launch import Place
from envbuilder.verification.live.run_probe import Probed, Subject, prepare, run_probe
from envbuilder.verification.report import Check, Report, report_schema
from envbuilder.verification.server.ask import Interview
from envbuilder.verification.server.tritonserver import find_server
from envbuilder.verification.static.archive import check_archive
from envbuilder.verification.static.extracted import Archive, open_archive
from envbuilder.verification.static.policy import check_contents
from envbuilder.verification.static.provenance import check_provenance
from envbuilder.verification.static.release import check_release

__all__ = ["Check", "Report", "report_schema", "verify"]


def verify(
    archive: Path,
    *,
    model: Path | None = None,
    compile: Mapping[str, Any] | None = None,
    releases: Sequence[str] = (),
    server: bool | None = None,
    tritonserver: Path | None = None,
    lock: Lock | None = None,
    trusted: Verifier | None = None,
    options: VerifyOptions | None = None,
    isolate: bool = True,
    ready_timeout: float = 300.0,
    settings: Settings,
    store: Store,
    reporter: Reporter = SILENT,
) -> Report:
    """Check *archive* under the contract of each of *releases* (default: the one it was built for).

    Args:
        archive: as ``envbuilder build`` wrote it.
        model: the model directory to load, in any form that deploy takes; default: the sample model.
        compile: ``torch.compile`` options in place of the model's own.
        releases: names of Triton releases.
        server: whether a real server is asked; None: if one is at hand. True fetches one where there is none.
        tritonserver: the server's program, or the folder that holds ``bin/tritonserver``.
        lock: the lock that the archive should have been built from.
        trusted: who must have signed the provenance beside the archive; None: that is not asked.
        options: what its recipe asks of its contents.
        isolate: run it in a mount namespace where this user may have one.
        ready_timeout: seconds that the server gets to load the model.

    Returns: a report, also where checks failed.

    Raises:
        VerifyError: there is no archive, no disk to extract it on, or no server where one was asked for.
        RecipeError: no such release.
    """
    began = time.monotonic()
    chosen = [find_release(name) for name in releases]
    with store.scratch("verify") as scratch:
        place = Place.make(scratch / "root", isolate=isolate)
        opened = open_archive(archive, place.environment, lambda found: _places(found, store), reporter)
        run = _Run(
            opened=opened,
            place=place,
            scratch=scratch,
            store=store,
            settings=settings,
            reporter=reporter,
            releases=chosen,
        )
        run.check_statically(lock, trusted, options)
        subject = run.check_probe(model or sample_model(), compile or {})
        if subject is not None and server is not False:
            run.check_server(subject, tritonserver, fetch=bool(server), ready_timeout=ready_timeout)
        return run.report(time.monotonic() - began)


class _Run:
    """One verification under way: what is known so far."""

    def __init__(
        self,
        *,
        opened: Archive,
        place: Place,
        scratch: Path,
        store: Store,
        settings: Settings,
        reporter: Reporter,
        releases: Sequence[Release],
    ) -> None:
        self.opened = opened
        self.manifest = opened.manifest
        self.place = place
        self.scratch = scratch
        self.store = store
        self.settings = settings
        self.reporter = reporter
        self.releases = list(releases) or ([find_release(self.manifest.release)] if self.manifest else [])
        self.minor = _minor(self.manifest) if self.manifest else ""
        self.checks: list[Check] = []
        self.probes: dict[Launch, Probed] = {}
        self.server: str | None = None

    def check_statically(
        self, lock: Lock | None, trusted: Verifier | None, options: VerifyOptions | None
    ) -> None:
        """Make every check that runs nothing of the archive."""
        self.reporter.step("Checking files")
        self.checks += check_archive(self.opened, lock)
        if trusted is not None:
            sha256 = self.opened.contents.sha256
            self.checks += check_provenance(self.opened.path, sha256, self.manifest, trusted)
        if options is not None:
            self.checks += check_contents(self.opened, options)
        for release in self.releases:
            self.checks += check_release(self.opened, release)

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
                reporter=self.reporter,
            )
        except DeployError as error:
            self.checks.append(
                Check(id="model.deployed", status="failed", found=error.message, fix=error.hint)
            )
            return None
        text = f"{model.name}: a repository with it can be made (version {subject.version}, {subject.file})"
        self.checks.append(Check(id="model.deployed", status="passed", found=text))
        for release in self.releases:
            if release.launch not in self.probes:
                self.reporter.step(f"Running the model, launched {release.launch} as by {release.name}")
                self.probes[release.launch] = run_probe(subject, release.launch)
            self.checks += check_probe(
                self.probes[release.launch],
                release,
                manifest,
                self.place.isolated,
                compiler=self.opened.compiler,
            )
        if any(
            check.status == "failed" and check.id.startswith(("probe.", "contract.")) for check in self.checks
        ):
            self._omit("server.start", "the probe failed: a server would say the same, less clearly")
            return None
        return subject

    def check_server(
        self, subject: Subject, tritonserver: Path | None, *, fetch: bool, ready_timeout: float
    ) -> None:
        """Ask a real server for the model, if there is one (with *fetch*: there must be one)."""
        manifest = self.manifest
        assert manifest is not None  # or there would be no subject
        try:
            server = find_server(tritonserver, self.settings, self.store, self.reporter, fetch=fetch)
        except VerifyError as error:
            if fetch or tritonserver is not None:
                raise
            return self._omit("server.start", error.message)
        if self.minor not in server.stubs:
            has = ", ".join(server.stubs) or "none that is known"
            text = f"{server.describe()} has no stub for Python {self.minor} (it has {has})"
            return self._omit("server.start", text)
        self.reporter.step(f"Serving the model by {server.describe()}")
        numpy = environment_facts(list(self.probes.values())).get("numpy", "")
        log = self.scratch / "server.log"
        interview = Interview(
            server=server, subject=subject, manifest=manifest, python=self.minor, numpy=numpy
        )
        served = interview.hold(log, ready_timeout)
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
