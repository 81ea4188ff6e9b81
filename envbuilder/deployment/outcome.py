"""The result of a deployment, or of a dry run."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from envbuilder.deployment import lint
from envbuilder.deployment.compiled import Compiled
from envbuilder.deployment.config import ENVIRONMENT
from envbuilder.deployment.prune import Kept
from envbuilder.util.printable import shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A model in a repository, with its environment."""

    model: str
    """The model's name for clients."""
    folder: Path
    layout: str
    environment: Path
    """The archive, or the folder where it is unpacked, on this machine."""
    environment_path: str | None
    """``EXECUTION_ENV_PATH`` as the server reads it; None: the backend's default."""
    release: str
    """The Triton release that the environment is for."""
    backend_folder: Path | None
    changed: bool
    """False: everything existed already, and nothing was touched."""
    removed: tuple[str, ...]
    """Files of the model's folder that the model directory does not have, relative to the folder."""
    old_archives: tuple[Path, ...]
    """Environments that deployments placed and no model names any more: ``prune`` would delete them."""
    findings: tuple[lint.Finding, ...]
    """Warnings about what a server accepts."""
    compiled: tuple[Compiled, ...] = ()
    """Results of compiling ahead of time, if that was requested."""
    deleted: tuple[Path, ...] = ()
    """The environments that ``prune`` deleted."""
    kept: tuple[Kept, ...] = ()
    """Environments that no model names, but ``prune`` kept."""
    replaced: str | None = None
    """The ``EXECUTION_ENV_PATH`` that was replaced although no deployment had set it."""
    overwritten: tuple[str, ...] = ()
    """Files of the model's folder, relative to it, and manifests that were overwritten although no deployment put
    them there, or that were edited."""
    manifests: tuple[Path, ...] = ()
    """With the layout ``image``, the Kubernetes manifests: a Pod, and an InferenceService."""
    dry_run: bool = False
    """A dry run: nothing was written or deleted."""

    @property
    def is_for_a_container(self) -> bool:
        """Whether only a server in a container with the mounted environment finds it."""
        return bool(self.manifests or self._mounts())

    def _mounts(self) -> list[str]:
        seen = self.environment_path
        if self.layout != "shared" or seen is None or seen == str(self.environment):
            return []
        return [f"mount: {self.environment.parent} at {posixpath.dirname(seen)} in the server's container"]

    def lines(self) -> list[str]:
        """Return the lines to print."""
        where = (
            self.environment_path
            or f"{self.environment}, the default of backend {self.environment.parent.name!r}"
        )
        would = "would be " if self.dry_run else ""
        note = "" if self.changed else " (nothing to change)"
        lines = [
            f"{self.model}: {self.folder}" + (" (dry run: nothing is written)" if self.dry_run else note),
            f"environment: {where}",
            *self._mounts(),
            *(
                f"manifest: {path} (put your volume claim into it, then kubectl apply)"
                for path in self.manifests
            ),
            *(compiled.line() for compiled in self.compiled),
            *([f"{would}replaced: the {ENVIRONMENT} {shown(self.replaced)}"] if self.replaced else []),
            *(f"{would}replaced: {path}" for path in self.overwritten),
            *(f"{would}removed: {path}" for path in self.removed),
            *(f"{would}deleted: {path}" for path in self.deleted),
            *(f"kept: {kept.environment} ({kept.reason})" for kept in self.kept),
            *(f"no longer used by any model: {path} (--prune deletes it)" for path in self.old_archives),
        ]
        for finding in self.findings:
            lines.append(f"{finding.level}: {finding.message}")
            lines += [f"  hint: {finding.hint}"] if finding.hint else []
        return lines
