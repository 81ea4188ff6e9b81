"""The error for a damaged artifact."""

from __future__ import annotations

from envbuilder.lockfile.model import Artifact


class DamagedArtifactError(Exception):
    """An artifact in the store is damaged; it was removed."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.filename)
        self.artifact = artifact
