"""An artifact that is not what its name says any more."""

from __future__ import annotations

from envbuilder.lockfile.model import Artifact


class DamagedArtifactError(Exception):
    """An artifact in the store is no longer what its name says; it was removed."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.filename)
        self.artifact = artifact
