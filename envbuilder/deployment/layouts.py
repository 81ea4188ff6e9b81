"""The plugin interface of layouts: where a deployed model's environment goes."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

from envbuilder.archive.manifest import Manifest
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.transaction import Job
from envbuilder.progress import Reporter
from envbuilder.util.plugins import Registry


class Layout(Protocol):
    """A way to lay out a model and its environment, ``deploy --layout NAME``.

    A distribution adds one by an entry point, which names a class that is called without arguments::

        [project.entry-points."envbuilder.layouts"]
        team = "acme_layout:TeamLayout"

    :mod:`envbuilder.deployment.transaction` has what all layouts share: ``begin`` decides, checks and writes nothing;
    ``finish`` puts the model's folder in its place, and before it what ``place`` puts there, for which there is
    ``put_environment``. So an error leaves the repository as it was.
    """

    holds: str
    """Describes :meth:`folder` in an error message, such as ``the shared folder``."""

    def folder(self, repository: Path, options: DeployOptions, manifest: Manifest) -> Path | None:
        """Return the folder beside *repository* that is written to, which is locked for the deployment.

        The result is None if there is none.

        Raises:
            DeployError: *options* contradict each other, or the layout.
        """

    def deploy(self, job: Job, folder: Path | None, reporter: Reporter) -> Deployment:
        """Put the model of *job* and its environment into place; with ``job.options.dry_run`` write nothing.

        Raises:
            DeployError: it cannot be deployed.
        """


LAYOUTS: Final[Registry[Layout]] = Registry(
    "envbuilder.layouts",
    "layout",
    built_in={
        "model": "envbuilder.deployment.built_in_layouts:ModelLayout",
        "shared": "envbuilder.deployment.built_in_layouts:SharedLayout",
        "backend": "envbuilder.deployment.built_in_layouts:BackendLayout",
        "image": "envbuilder.deployment.image_layout:ImageLayout",
    },
    needs=("holds", "folder", "deploy"),
)
"""All layouts."""
