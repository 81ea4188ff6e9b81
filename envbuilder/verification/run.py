"""Run the checks of one verification, in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from envbuilder.archive.manifest import Manifest
from envbuilder.assemble.origin_proof import find_origin, record_origin
from envbuilder.base.interpreter import find_interpreters
from envbuilder.catalog.triton import Release, find_release
from envbuilder.errors import AssembleError, EnvbuilderError, IntegrityError, VerifyError
from envbuilder.foreign.folder import pack_folder
from envbuilder.store.local import Store
from envbuilder.store.proofs import Proofs
from envbuilder.store.session import Session
from envbuilder.util.crew import Crew, Job
from envbuilder.verification.failures import ended, fix, guarded
from envbuilder.verification.findings import Findings
from envbuilder.verification.live.evaluate_model import let_server_decide
from envbuilder.verification.live.foreign import settle_links
from envbuilder.verification.live.launch import Sandbox, can_isolate
from envbuilder.verification.live.readonly import Watched
from envbuilder.verification.live.stage import LiveStage
from envbuilder.verification.origin.artifacts import local_folders
from envbuilder.verification.origin.check import ID as ORIGIN
from envbuilder.verification.origin.check import check_origin
from envbuilder.verification.origin.locked import Surroundings
from envbuilder.verification.proven import Asked, Recalled, checks_of, origin_of
from envbuilder.verification.report import Check, Report, failed, omitted, unread
from envbuilder.verification.request import VerifyRequest
from envbuilder.verification.server.servers import SERVERS, Server
from envbuilder.verification.server.stage import ServerStage
from envbuilder.verification.static.extracted import Archive, open_archive
from envbuilder.verification.static.fitting import check_all_releases
from envbuilder.verification.static.foreign_release import base_python
from envbuilder.verification.static.stage import check_structure

_STOPPING: Final = ("archive.", "layout.", "manifest.", "provenance.", "system.libstdcxx")
"""Prefixes of the checks that must pass before an archive can be run."""
_YIELDING: Final = 5
"""Niceness of the proof of origin, which compiles on every processor, so that it does not slow the timed stub."""
_SMALL: Final = 2**30
"""Largest model that is loaded twice at once, in the probe and in a server, in bytes."""


class Run:
    """One verification under way.

    The checks that decide whether the archive can be run come first. Then the rest of the static checks, the proof
    of origin, the probe and the start of the server share the machine's processors; the server is started last, and
    in the main thread, where an interruption ends it.
    """

    sandbox: Sandbox
    extracted: Archive

    def __init__(self, archive: Path, session: Session, request: VerifyRequest) -> None:
        self.archive = archive
        self.session = session
        self.request = request
        self.began = time.monotonic()
        self.manifest: Manifest | None = None
        self.releases: list[Release] = []
        self.findings = Findings()
        self.proofs = Proofs(store=session.store, believe=request.cache)
        self.asked: Asked | None = None
        self.recalled: Recalled | None = None
        self.serving: ServerStage | None = None
        self.live: LiveStage | None = None
        self.ran: dict[str, Any] | None = None
        """The report's facts about the run, if they are recorded results."""
        self._ended = False

    @property
    def minor(self) -> str:
        """The minor version of the environment's Python."""
        return _minor(self.manifest) if self.manifest else ""

    def make_checks(self, scratch: Path, crew: Crew) -> None:
        """Make every possible check; *scratch* is a temporary folder, *crew* runs jobs in parallel.

        Raises:
            VerifyError, RecipeError: see :func:`verify`.
        """
        self.releases = [find_release(name) for name in self.request.releases]
        choice = self.request.server
        if choice.ask is not False:
            finder = SERVERS.get(choice.kind)
            self.serving = ServerStage(session=self.session, choice=choice, finder=finder)
        isolated = self.request.isolate and can_isolate()
        self.asked = Asked.of(self.proofs, self.archive, self.request, isolated=isolated)
        self.recalled = None if self.asked is None else self.asked.recall(self.serving)
        if self.recalled is not None:
            self._recall(self.recalled)
            return
        self._extract(scratch)
        self.session.reporter.step("Checking files")
        later = check_structure(
            self.extracted,
            self.findings,
            releases=self.releases,
            lock=self.request.lock,
            trusted=self.request.trusted,
            options=self.request.options,
        )
        if self.extracted.is_foreign and not self.releases and not self.extracted.is_unread:
            self.findings.place(guarded("contract.releases", self._find_releases))
        static = self.findings.places
        origin, live, served = (self.findings.place() for _ in range(3))
        beside = not self._broken() and self.sandbox.isolated and len(os.sched_getaffinity(0)) > 1
        files = crew.start(lambda: [check() for check in later], beside=beside)
        proof = crew.start(lambda: self._prove_origin(origin), beside=beside, nice=_YIELDING)
        broken = self._broken()
        if broken or self.manifest is None:
            live.append(omitted("contract.launch", f"nothing was run: {', '.join(broken)} failed"))
        elif not self._recall_run(live, served):
            stage = self.live = self._live_stage(self.manifest, scratch)
            stage.deploy(live)
            if stage.models:
                watched: list[Watched] = []
                probe = crew.start(lambda: self._probe(stage, watched, live), beside=beside)
                if sum(_size(deployed.folder) for deployed in stage.models) > _SMALL:
                    probe.wait()
                if proof.result():
                    self._serve(stage, served, scratch, probe)
                else:
                    probe.stop()
                probe.result()
                live.append(
                    watched[0].check(
                        self.extracted.contents.members,
                        foreign=self.extracted.is_foreign,
                        readonly=self.sandbox.readonly,
                        ran=live,
                    )
                )
        if not proof.result() and not broken:
            live[:] = [omitted("contract.launch", "what was run was stopped: manifest.origin failed")]
            served.clear()
        files.result()
        if self.live is not None:
            self.findings.rewrite(self.live.settle)
            said, models = self.findings.checks, self.live.models
            self.findings.rewrite(lambda place: let_server_decide(place, models, said))
            self.findings.rewrite(lambda place: settle_links(place, said))
        if self.asked is not None and not self._failed(self.findings.checks):
            self._record(self.asked, [check for place in static for check in place], live, served)

    # -- what was proven before --------------------------------------------------------------------

    def _recall(self, recalled: Recalled) -> None:
        """Take every check from recorded results."""
        self.findings.place(checks_of(recalled.files, "checks"))
        self.findings.place([origin_of(recalled.origin)])
        self.findings.place(checks_of(recalled.ran, "live"))
        served = self.findings.place(checks_of(recalled.ran, "served"))
        if self.serving is not None and not recalled.served:
            self.serving.find(recalled.about["python"], served)  # reports why there is none

    def _recall_run(self, live: list[Check], served: list[Check]) -> bool:
        """Take the checks of the probe and the server from recorded results, if any."""
        server = self._server_at_hand()
        if self.asked is None or (server is None and self.request.server.required):
            return False
        ran = self.asked.find_run(self.extracted.contents.sha256, server)
        if ran is None:
            return False
        live += checks_of(ran, "live")
        served += checks_of(ran, "served")
        if self.serving is not None and server is None:
            self.serving.find(self.minor, served)
        self.ran = ran.value["about"]
        return True

    def _record(self, asked: Asked, files: list[Check], live: list[Check], served: list[Check]) -> None:
        """Record the new results."""
        sha256 = self.extracted.contents.sha256
        asked.record_files(sha256, files, {**self._about_files(), "python": self.minor})
        server = self._server_at_hand()
        if self.live is not None and (server is None or served):
            checks = {"live": live, "served": served if server is not None else []}
            asked.record_run(sha256, server, checks, self._about_run())

    def _server_at_hand(self) -> Server | None:
        return None if self.serving is None else self.serving.at_hand(self.minor)

    # -- parts -------------------------------------------------------------------------------------

    def _extract(self, scratch: Path) -> None:
        request = self.request
        self.sandbox = Sandbox.make(scratch / "root", isolate=request.isolate, readonly=request.readonly)
        store, reporter = self.session.store, self.session.reporter
        folder = self.archive if self.archive.is_dir() else None
        try:
            archive = self.archive if folder is None else pack_folder(folder, scratch)
            self.extracted = open_archive(
                archive, self.sandbox.environment, lambda found: _places(found, store), reporter
            )
        except (VerifyError, IntegrityError) as error:
            self.findings.place().append(failed("archive.readable", error.message, fix(error)))
            raise
        self.manifest = self.extracted.manifest
        if folder is not None:
            self.extracted = replace(self.extracted, folder=folder.absolute())
        if self.extracted.is_foreign and base_python(self.extracted) is not None:
            self.sandbox = replace(self.sandbox, isolated=False)  # its interpreter is outside
        if self.extracted.is_foreign:
            with suppress(IntegrityError):  # its checks report why
                self.manifest = self.extracted.measured
        elif self.manifest is not None and not self.releases:
            release = self.manifest.release
            self.findings.place(
                guarded("manifest.release", lambda: self.releases.append(find_release(release)))
            )

    def _find_releases(self) -> Iterator[Check]:
        """Choose the releases that would load an archive that names none."""
        found = check_all_releases(self.extracted)
        self.releases = list(found.releases)
        yield from found.checks

    def _broken(self) -> list[str]:
        """Return the failed checks without which the archive cannot be run."""
        failures = {check.id for check in self.findings.checks if check.status == "failed"}
        return sorted(id for id in failures if id.startswith(_STOPPING))

    def _prove_origin(self, found: list[Check]) -> bool:
        """Return whether the origin of all files is proven."""
        sha256, request = self.extracted.contents.sha256, self.request
        known = find_origin(self.proofs, sha256, lock=request.lock, recipe=request.recipe)
        if known is not None:
            found.append(origin_of(known))
            return True
        self.session.reporter.step("Proving where each file comes from")
        around = Surroundings(
            store=self.session.store,
            folders=tuple(local_folders(self.session.settings.find_links)),
            recipe=request.recipe,
            reporter=self.session.reporter,
            believe=request.cache,
        )
        found.extend(
            guarded(ORIGIN, lambda: check_origin(self.extracted, request.lock, self.sandbox, around))
        )
        for check in found:
            if check.status == "passed":
                record_origin(self.proofs, sha256, check.found, lock=request.lock, recipe=request.recipe)
        return not self._failed(found)

    @staticmethod
    def _failed(checks: list[Check]) -> bool:
        return any(check.status == "failed" for check in checks)

    def _live_stage(self, manifest: Manifest, scratch: Path) -> LiveStage:
        return LiveStage(
            extracted=self.extracted,
            sandbox=self.sandbox,
            manifest=manifest,
            releases=self.releases,
            choice=self.request.models,
            compile=self.request.compile,
            session=self.session,
            scratch=scratch,
            recipe=self.request.recipe,
        )

    def _probe(self, stage: LiveStage, watched: list[Watched], found: list[Check]) -> bool:
        """Run the probe, after adding the state of the environment before it to *watched*: no server waits for that."""
        watched.append(Watched(self.sandbox.environment))
        return stage.probe(found)

    def _serve(self, live: LiveStage, found: list[Check], scratch: Path, probe: Job[bool]) -> None:
        """Send requests to a real server, whatever the probe found: the server's result takes precedence.

        It is started while the probe runs, and queried when that has ended.
        """
        assert self.manifest is not None  # otherwise nothing would be deployed
        if self.serving is not None:
            self.serving.check(live, self.manifest, scratch, found, probe)

    def _environment(self) -> dict[str, str]:
        return self.live.environment if self.live is not None else {}

    def end(self, error: BaseException, write: Callable[[Report], None]) -> None:
        """Write the report up to *error*, once."""
        if self._ended:
            return
        self._ended = True
        self.findings.place().append(ended(error))
        with suppress(EnvbuilderError, OSError):  # the original error matters, not this one
            write(self.report())

    def report(self) -> Report:
        """Return the report."""
        seconds = time.monotonic() - self.began
        checks = self.findings.checks
        if self.recalled is not None:
            about, sha256 = dict(self.recalled.about), self.recalled.sha256
            about.pop("python")
        elif hasattr(self, "extracted"):
            sha256 = self.extracted.contents.sha256
            about = {**self._about_files(), **(self.ran or self._about_run())}
        else:
            return unread(self.archive, checks, seconds)
        about["releases"] = tuple(about["releases"])
        return Report(
            archive=str(self.archive), sha256=sha256, checks=tuple(checks), seconds=seconds, **about
        )

    def _about_files(self) -> dict[str, Any]:
        contents = self.extracted.contents
        return {
            "size": contents.size,
            "unpacked_size": contents.unpacked_size,
            "recipe": self.manifest.recipe if self.manifest else None,
            "releases": [release.name for release in self.releases],
        }

    def _about_run(self) -> dict[str, Any]:
        server = None if self.serving is None else self.serving.asked
        return {
            "isolated": self.sandbox.isolated,
            "server": server,
            "environment": self._environment(),
        }


def _places(manifest: Manifest | None, store: Store) -> list[Path]:
    """Return folders of this machine that an environment must not name."""
    places = [store.root]
    if manifest is not None:
        with suppress(AssembleError):
            found, _ = find_interpreters(_minor(manifest))
            places += [interpreter.prefix for interpreter in found]
    return [path for path in places if path not in (Path("/"), Path("/usr"), Path("/usr/local"))]


def _minor(manifest: Manifest) -> str:
    return ".".join(manifest.python.split(".")[:2])


def _size(folder: Path) -> int:
    """Return the size of *folder* in bytes."""
    return sum(path.lstat().st_size for path in folder.rglob("*"))
