"""Options of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENVIRONMENTS: Final = "environments"
"""The default folder beside a repository for environments of many models. Not ``envs``, where ``build`` puts
archives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeployOptions:
    """How a model is put into a repository."""

    layout: str = "model"
    """``model``: the environment lies in the model's folder. ``shared``: in one folder for many models. ``backend``: it
    is the default environment of a Python-based backend, and so is the runtime (24.01+). ``image``: it is an image that
    the cluster mounts. Further ones are plugins, see
    :class:`envbuilder.deployment.layouts.Layout`."""
    unpacked: bool = False
    """A folder instead of an archive: the server has nothing to extract."""
    name: str | None = None
    """The model's name; None: the one in config.pbtxt, or the directory's."""
    shared: Path | None = None
    """The folder of ``shared``; None: ``environments`` beside the repository."""
    shared_as: str | None = None
    """The path of that folder as the server sees it, for instance in a container."""
    backends: Path | None = None
    """The folder of ``backend``, the server's ``--backend-directory``; None: ``backends`` beside the repository."""
    backend: str | None = None
    """The backend's name; None: ``torch-<recipe>``."""
    prune: bool = False
    """Delete the environments that would be listed as ``old_archives``."""
    replace: bool = False
    """Replace an ``EXECUTION_ENV_PATH``, and overwrite or delete files in the model's folder of the repository, that no
    deployment put there."""
    dry_run: bool = False
    """Write and delete nothing; return what a deployment would do."""
    pool: Path | None = None
    """The folder with which *unpacked* environments share their files; None: ``environments`` beside the
    repository, where the layout is ``model``."""
    image: str | None = None
    """The image of ``image``: ``oci://HOST/REPOSITORY@sha256:…``."""
    mounted_at: str | None = None
    """The path at which the server sees that image."""
    original: Path | None = None
    """The original of the deployed model directory, if that is a completed copy."""
    manifests: Path | None = None
    """The folder of ``image`` for Kubernetes manifests; None: ``kubernetes`` beside the repository."""
