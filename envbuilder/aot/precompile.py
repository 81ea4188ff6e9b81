"""``envbuilder compile``: compile models ahead of time, inside their environment, under their release's contract."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuilder.aot.model_sandbox import ModelSandbox
from envbuilder.deployment.compiled import COMPILED, Compiled, read_key
from envbuilder.deployment.config import CONFIG
from envbuilder.deployment.versions import version_folders
from envbuilder.errors import DeployError
from envbuilder.progress import SILENT, Reporter
from envbuilder.util.documents import DocumentError, Grammar
from envbuilder.verification.live.guest_process import guest_files

_COMPILED: Final = Grammar(pattern=COMPILED, expected="a file that the runtime looks for")


def precompile(
    environment: Path,
    model: Path,
    scratch: Path,
    *,
    present: Path | None = None,
    isolate: bool = True,
    reporter: Reporter = SILENT,
) -> tuple[Compiled, ...]:
    """Compile each version of the model directory *model* in *environment*.

    Args:
        environment: an archive as ``envbuilder build`` wrote it, or the folder that one is unpacked into.
        model: a directory with config.pbtxt and version folders. It is only read.
        scratch: an empty folder for the packages.
        present: the model's folder in a repository: a package there that was compiled from the same files is kept.
        isolate: compile it in a mount namespace if this user may create one.

    Returns: the result for each version; a model that cannot be compiled ahead of time is not an error.

    Raises:
        DeployError: the model directory or the environment cannot be used.
    """
    stage = ModelSandbox.make(environment, model, scratch, isolate=isolate)
    versions = version_folders(stage.folder)
    made_of = {version.name: _made_of(stage, version) for version in versions}
    kept = {version.name: _kept(version.name, made_of[version.name], present) for version in versions}
    if not all(kept.values()):
        reporter.step(f"Preparing {environment.name} for compilation")
        stage.lay_out()
    found: list[Compiled] = []
    for version in versions:
        if not kept[version.name]:
            reporter.step(f"Compiling {stage.config.name}, version {version.name}, ahead of time")
            found += _compile(stage, version, made_of[version.name])
    return (*(one for ones in kept.values() for one in ones), *found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What compiling a model would do."""

    kept: tuple[Compiled, ...]
    """Existing results that were compiled from the same files."""
    pending: Mapping[str, str]
    """The versions that would be compiled, each with a digest of its inputs."""


def look(environment: Path, model: Path, scratch: Path, *, present: Path | None = None) -> Outlook:
    """Return what :func:`precompile` would do; nothing is compiled.

    Raises:
        DeployError: the model directory or the environment cannot be used.
    """
    stage = ModelSandbox.make(environment, model, scratch)
    made_of = {version.name: _made_of(stage, version) for version in version_folders(stage.folder)}
    kept = {version: _kept(version, digest, present) for version, digest in made_of.items()}
    return Outlook(
        kept=tuple(one for ones in kept.values() for one in ones),
        pending={version: digest for version, digest in made_of.items() if not kept[version]},
    )


def _made_of(stage: ModelSandbox, version: Path) -> str:
    """Return a digest of everything that the result for *version* depends on."""
    digest = hashlib.sha256(stage.identity.encode())
    digest.update(stage.config.SerializeToString(deterministic=True))
    for module in guest_files().values():
        digest.update(module.read_bytes())
    above = [path for path in sorted(version.parent.iterdir()) if path.is_file() and path.name != CONFIG]
    for path in [*above, *sorted(path for path in version.rglob("*") if path.is_file())]:
        digest.update(os.fsencode(path.relative_to(version.parent)) + b" %d\n" % path.stat().st_size)
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()


def _kept(version: str, made_of: str, present: Path | None) -> list[Compiled]:
    """Return the existing results for *version* that were made from the same inputs."""
    folder = (present or Path("/nonexistent")) / version
    kept = []
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if COMPILED.fullmatch(file.name):
            try:
                key = read_key(file)
                same, device = key.text("made of") == made_of, key.text("kind")
            except (DeployError, DocumentError):
                continue
            if same:
                kept.append(
                    Compiled(
                        version=version,
                        device=device,
                        file=file,
                        reason=None,
                        difference=None,
                        kept=True,
                    )
                )
    return kept


def _compile(stage: ModelSandbox, version: Path, made_of: str) -> Iterator[Compiled]:
    """Compile *version* in the environment; yield the result for each kind of device."""
    devices = stage.ask(version.name, "package", made_of=made_of).record_map("devices")
    for device, done in devices.items():
        reason = done.free_text("reason") if "reason" in done else None
        if reason and done.boolean("compiled"):
            kinds = [device]
            done = (
                stage.ask(version.name, "caches", made_of=made_of, kinds=kinds)
                .record("devices")
                .record(device)
            )
        name = done.text("file", _COMPILED) if "file" in done else None
        yield Compiled(
            version=version.name,
            device=device,
            file=version / name if name else None,
            reason=reason,
            difference=done.number("error") if "error" in done else None,
            kept=False,
        )
