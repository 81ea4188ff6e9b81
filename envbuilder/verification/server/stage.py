"""The checks with a server: find it, start it while the probe runs, and query it when that has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from envbuilder.archive.manifest import Manifest
from envbuilder.errors import VerifyError
from envbuilder.store.session import Session
from envbuilder.util.crew import Job
from envbuilder.verification.failures import fix, guarded
from envbuilder.verification.live.stage import LiveStage
from envbuilder.verification.report import Check, failed, omitted
from envbuilder.verification.server.ask import ServerChecks
from envbuilder.verification.server.culprits import run_without_culprits
from envbuilder.verification.server.served_model import ServedModel
from envbuilder.verification.server.servers import Server, ServerChoice, ServerFinder
from envbuilder.verification.server.stubs import add_stubs


@dataclass(kw_only=True, slots=True)
class ServerStage:
    """Runs the checks with the server of *choice* that *finder* finds."""

    session: Session
    choice: ServerChoice
    finder: ServerFinder
    asked: str | None = None
    """The server that was used, if any."""

    def at_hand(self, python: str) -> Server | None:
        """Return the server that would be used, if it is available and supports *python* (``3.11``)."""
        with suppress(VerifyError):
            server = self.finder.find(self.choice.program, self.session, fetch=False)
            return server if python in server.pythons else None
        return None

    def find(self, python: str, found: list[Check]) -> Server | None:
        """Return the server to use; if there is none, a check is added to *found*.

        Raises:
            VerifyError: there is none, and one was asked for.
        """
        try:
            server = self.finder.find(self.choice.program, self.session, fetch=bool(self.choice.ask))
        except VerifyError as error:
            if self.choice.required:
                found.append(failed("server.start", error.message, fix(error)))
                raise
            found.append(omitted("server.start", error.message))
            return None
        if python not in server.pythons:
            has = ", ".join(server.pythons) or "no known ones"
            text = f"{server.describe()} has no stub for Python {python} (it has {has})"
            found.append(omitted("server.start", text))
            return None
        return server

    def check(
        self, live: LiveStage, manifest: Manifest, scratch: Path, found: list[Check], probe: Job[bool]
    ) -> None:
        """Query a server for the models of *live*, if there is one, and add the checks to *found*.

        It is queried when the *probe* has ended, whatever its result.

        Raises:
            VerifyError: there is none, and one was asked for.
        """
        python = ".".join(manifest.python.split(".")[:2])
        server = self.find(python, found)
        if server is None:
            return

        def probed() -> list[ServedModel]:
            probe.result()
            numpy = live.environment.get("numpy", "")
            return [
                ServedModel(
                    deployed=deployed,
                    probed=live.answers_of(deployed),
                    numpy=numpy,
                    silent=live.is_silent(deployed),
                )
                for deployed in live.models
            ]

        asking = ServerChecks(
            server=server,
            models=live.models,
            subjects=probed,
            manifest=manifest,
            python=python,
            many=live.many,
            whole=live.whole,
        )
        if live.many:
            stubs: Mapping[str, Path] = getattr(server, "stubs", {})
            add_stubs(live.sandbox.root / "models", stubs, python)
        self.session.reporter.step(f"Serving the model by {server.describe()}")
        found.extend(guarded("server.start", lambda: self._ask(asking, scratch, probe)))

    def _ask(self, asking: ServerChecks, scratch: Path, probe: Job[bool]) -> Iterator[Check]:
        alone = probe.done
        served = asking.run(scratch / "server.log", self.choice.ready_timeout)
        if served.server is None and not alone:
            probe.wait()
        if served.server is None:
            served = run_without_culprits(asking, served, scratch, self.choice.ready_timeout)
        if served.server is None and not alone:
            # Beside the probe it may have lacked processors or memory: try again alone.
            served = asking.run(scratch / "alone" / "server.log", self.choice.ready_timeout)
        self.asked = served.server
        yield from served.checks
