"""The request of a verification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from envbuilder.lockfile.model import Lock
from envbuilder.recipe.model import Recipe, VerifyOptions
from envbuilder.signing.verifier import Verifier
from envbuilder.verification.live.model_deployment import ModelChoice
from envbuilder.verification.server.servers import ServerChoice


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyRequest:
    """The request of a verification."""

    model: Path | None = None
    """The model directory to load, in any form that deploy takes; None: the sample model."""
    choice: ModelChoice | None = None
    """More than *model*: a repository, and the requests to send."""
    compile: Mapping[str, Any] = field(default_factory=dict)
    """``torch.compile`` options in place of the model's own."""
    releases: tuple[str, ...] = ()
    """Names of the Triton releases to verify for; empty: the one that the archive was built for."""
    server: ServerChoice = ServerChoice()
    """Whether to use a real server, and which."""
    lock: Lock | None = None
    """The lock that the archive should have been built from."""
    trusted: Verifier | None = None
    """Who must have signed the provenance beside the archive; None: it is not checked."""
    options: VerifyOptions | None = None
    """The recipe's requirements on its content."""
    recipe: Recipe | None = None
    """Its own recipe, if available."""
    cache: bool = True
    """Whether to use recorded results of this machine for the same bytes; otherwise everything is verified again."""
    isolate: bool = True
    """Run it in a mount namespace if this user may create one."""
    readonly: bool = False
    """Mount it read-only there, as a cluster mounts an image."""

    @property
    def models(self) -> ModelChoice:
        """Which models to load, and with which requests."""
        return self.choice or ModelChoice(model=self.model)
