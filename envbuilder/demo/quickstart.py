"""``envbuilder quickstart``: from the recipe ``cpu`` to a response of a real Triton, without any preparation."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from envbuilder.building.build import build
from envbuilder.building.record import BuildReport
from envbuilder.deployment.config import CONFIG
from envbuilder.deployment.layout import deploy
from envbuilder.deployment.pbtxt import set_parameter
from envbuilder.errors import VerifyError
from envbuilder.guest.equality import differences
from envbuilder.lockfile.check import check_lock
from envbuilder.progress import Reporter
from envbuilder.recipe.load import load_recipe
from envbuilder.store.session import Session
from envbuilder.util.resources import sample_model, shipped_recipes
from envbuilder.util.tempdirs import output_folder, temporary_folder
from envbuilder.verification.server.servers import ServerChoice
from envbuilder.verification.server.tritonserver import RunningServer, find_server
from envbuilder.verification.verify import VerifyRequest, verify

RECIPE: Final = "cpu"
SERVER_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""The server's PATH, on which it finds a compiler."""
_ROWS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Quickstart:
    """The result, with the server's response."""

    recipe: Path
    archive: Path
    archive_size: int
    """Bytes."""
    interpreter: str
    locked_interpreter: bool
    """Whether it is the locked interpreter, so that the archive is byte-identical everywhere."""
    verified: str
    """A summary of the verification."""
    compiled: bool
    """Whether the model was served with ``torch.compile``."""
    repository: Path
    server: str
    answer: tuple[tuple[float, ...], ...]
    """One row of outputs for each row of inputs."""
    seconds: float
    kept: bool

    def lines(self) -> list[str]:
        """Return the lines to print."""
        how = "compiled while it loaded" if self.compiled else "not compiled: no C++ compiler on this machine"
        same = "the locked one" if self.locked_interpreter else "not the locked one: see the note above"
        rows = [" ".join(f"{value:+.4f}" for value in row[:6]) + " …" for row in self.answer]
        return [
            f"recipe      {self.recipe}",
            f"archive     {self.archive.name}, {self.archive_size / 1e6:.0f} MB, Python {self.interpreter} ({same})",
            f"verified    {self.verified}",
            f"server      {self.server}",
            f"model       {self.repository.name}/mlp, {how}",
            f"answer      {rows[0]}",
            *(f"            {row}" for row in rows[1:]),
            f"took        {self.seconds:.0f} s",
            f"kept in     {self.repository.parent}"
            if self.kept
            else "next        the same command with --keep FOLDER keeps it",
        ]


def quickstart(session: Session, *, keep: Path | None = None) -> Quickstart:
    """Build and verify the recipe ``cpu``, deploy the sample model with it, and send it a request on a real server.

    Any CPython of the recipe's minor version is accepted, and noted if it is not the locked one. Results go to the
    folder *keep*, or to a temporary one that is removed; downloads stay in the store.

    Raises:
        FetchError: an artifact or the server cannot be downloaded.
        VerifyError: a check fails, the server does not become ready, or a response is wrong.
    """
    begun = time.monotonic()
    reporter = session.reporter
    with _folder(keep) as folder:
        session = session.at(folder, remote=False)
        recipe = load_recipe(shipped_recipes() / f"{RECIPE}.yaml")
        reporter.step(f"Building {recipe.name}: {recipe.path}")
        lock = check_lock(recipe)
        report = build(
            recipe,
            lock,
            session,
            output=folder / "envs",
            interpreter_change=True,
        )
        compiled = any(shutil.which(name, path=SERVER_PATH) for name in ("g++", "c++"))
        model = _sample(folder / "models", compiled, reporter)
        checks = verified(report.archive, model, session)
        reporter.step("Deploying the sample model")
        deployment = deploy(report.archive, model, folder / "repository", reporter=reporter)
        server, answer = _serve(deployment.folder.parent, report, session, folder / "server.log")
        interpreter = report.manifest.interpreter
        return Quickstart(
            recipe=recipe.path,
            archive=report.archive,
            archive_size=report.size,
            interpreter=interpreter.version,
            locked_interpreter=interpreter.digest == interpreter.locked_digest,
            verified=checks,
            compiled=compiled,
            repository=deployment.folder.parent,
            server=server,
            answer=tuple(tuple(float(value) for value in row) for row in answer),
            seconds=time.monotonic() - begun,
            kept=keep is not None,
        )


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        with output_folder(keep.absolute()) as folder:
            yield folder
        return
    with temporary_folder("quickstart") as folder:
        yield folder


def _sample(folder: Path, compiled: bool, reporter: Reporter) -> Path:
    """Return the sample model's directory; without a compiler, a copy that disables compiling."""
    if compiled:
        return sample_model()
    reporter.note(
        "no C++ compiler here, which torch.compile needs on a CPU (Debian: g++): the model is served as it is"
    )
    model = shutil.copytree(sample_model(), folder / sample_model().name, dirs_exist_ok=True)
    config = model / CONFIG
    config.write_text(
        set_parameter(config.read_text(), "TORCH_COMPILE_OPTIONAL_PARAMETERS", '{"disable": true}')
    )
    return model


def verified(archive: Path, model: Path, session: Session) -> str:
    """Verify the archive under its release's contract, without a server."""
    report = verify(archive, session, VerifyRequest(model=model, server=ServerChoice(ask=False)))
    if not report.passed:
        failed = report.failures[0]
        raise VerifyError(f"{archive}: check {failed.id} failed: {failed.found}", hint=failed.fix)
    return f"{sum(check.status == 'passed' for check in report.checks)} checks passed"


def _serve(
    repository: Path, report: BuildReport, session: Session, log: Path
) -> tuple[str, np.ndarray[Any, Any]]:
    """Start a real server on *repository* and send requests to the sample model."""
    server = find_server(None, session)
    session.reporter.step(f"Starting {server.describe()}")
    minor = ".".join(report.manifest.python.split(".")[:2])
    with server.start(repository, python=minor, log=log) as running:
        session.reporter.step("Asking it")
        name = server.describe()
        return name if running.version in name else f"{name}, Triton {running.version}", ask(running)


def ask(running: RunningServer) -> np.ndarray[Any, Any]:
    """Send three rows at once, and the first alone, which must give the same outputs."""
    rows = np.random.default_rng(0).standard_normal((_ROWS, 128), dtype=np.float32)
    together, alone = infer(running, rows), infer(running, rows[:1])
    differing = differences({"y": together[:1]}, {"y": alone})
    if together.shape != (_ROWS, 16) or differing or not np.isfinite(together).all():
        raise VerifyError(
            f"the server returned shape {together.shape} for {_ROWS} rows, and {alone[0, :3]} for the first alone, "
            f"{together[0, :3] if len(together) else 'nothing'} for it among them",
            hint="run `envbuilder verify` on the archive for details",
        )
    return together


def infer(running: RunningServer, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the served model's output for *rows*, of shape ``[rows, 128]``, requested over HTTP."""
    from tritonclient import http  # seconds of gevent, and needed only now

    with http.InferenceServerClient(running.http, network_timeout=120) as client:
        request = http.InferInput("x", list(rows.shape), "FP32")
        request.set_data_from_numpy(rows)
        answer: np.ndarray[Any, Any] = client.infer("mlp", [request]).as_numpy("y")
        return answer
