"""The layout ``image``: the environment is an image that the cluster mounts."""

from __future__ import annotations

import posixpath
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from envbuilder.archive.manifest import Manifest
from envbuilder.catalog.triton import PYTRITON, find_release
from envbuilder.deployment import lint
from envbuilder.deployment.kubernetes import MODELS, PYTRITON_IMAGE, inference_service, object_name, pod
from envbuilder.deployment.manifests import plan_manifests
from envbuilder.deployment.mark import DEPLOYED, MARK
from envbuilder.deployment.model_directory import absolute
from envbuilder.deployment.options import DeployOptions
from envbuilder.deployment.outcome import Deployment
from envbuilder.deployment.transaction import Job, begin, finish
from envbuilder.deployment.tree import Entry, Text
from envbuilder.errors import DeployError
from envbuilder.progress import Reporter
from envbuilder.util.files import atomic_write

MANIFESTS: Final = "kubernetes"
"""The folder beside a repository for the cluster's manifests."""
_PINNED: Final = re.compile(r"oci://[^@]+@sha256:[0-9a-f]{64}")
_TAKEN: Final = (
    MODELS,
    "/opt/tritonserver",
    "/mnt/models",
    "/usr",
    *("/lib", "/lib32", "/lib64", "/libx32"),
    *("/bin", "/sbin"),
    "/etc",
    *("/dev", "/proc", "/sys"),
)
"""Folders of the server's image: a mount inside or above one hides it."""
_NEEDED: Final = ("/home", "/root", "/run", "/tmp", "/var")
"""Folders that a server writes to; a mount in one of them does no harm."""


class ImageLayout:
    """The model's folder names a path at which the cluster mounts the environment's image, and holds no environment."""

    holds = "the folder of Kubernetes's manifests"

    def folder(self, repository: Path, options: DeployOptions, manifest: Manifest) -> Path | None:
        """Return the folder of manifests.

        Raises:
            DeployError: the mount path or the image's digest is missing or invalid.
        """
        if options.unpacked:
            raise DeployError("an image is mounted, so nothing is unpacked", hint="omit --unpacked")
        if options.mounted_at is None:
            raise DeployError(
                "--layout image needs the path at which the image is mounted", hint="--mounted-at /envs/NAME"
            )
        if options.image is None or not _PINNED.fullmatch(options.image):
            raise DeployError(
                "--layout image needs the image's digest: a tag may point to a different image later",
                hint="--image oci://HOST/REPOSITORY@sha256:…, as `envbuilder push` printed it",
            )
        path = options.mounted_at
        lint.check_environment_path(path)
        if not path.startswith("/") or posixpath.normpath(path) != path or path.count("/") < 1 or path == "/":
            raise DeployError(
                f"{path!r} is not a valid mount path", hint="use an absolute path such as /envs/NAME"
            )
        hint = "--mounted-at /envs/NAME"
        for taken in _TAKEN:
            if path == taken or path.startswith(f"{taken}/"):
                raise DeployError(f"{path} lies in {taken}, which the server's image has", hint=hint)
            if taken.startswith(f"{path}/"):
                raise DeployError(f"{path} would hide {taken}, which the server's image has", hint=hint)
        if path in _NEEDED:
            raise DeployError(f"{path} would be read-only, and the server writes to it", hint=hint)
        return absolute(options.manifests or repository.parent / MANIFESTS)

    def deploy(self, job: Job, folder: Path | None, reporter: Reporter) -> Deployment:
        """Put the model into the repository, and the manifests into their folder."""
        assert folder is not None
        options = job.options
        assert options.mounted_at is not None
        assert options.image is not None
        host, _, rest = options.image.removeprefix("oci://").partition("/")
        repository, _, digest = rest.partition("@")
        image = f"{host}/{repository.partition(':')[0]}@{digest}"
        said = (job.name, job.manifest.release, job.manifest.cuda, image, options.mounted_at)
        name = object_name(job.name)
        files = {
            folder / f"{name}.pod.yaml": pod(*said),
            folder / f"{name}.inferenceservice.yaml": inference_service(*said),
        }

        manifests = plan_manifests(files, job.name, replace=options.replace)

        def place() -> bool:
            if not options.dry_run:
                folder.mkdir(parents=True, exist_ok=True)
                for path, data in manifests.files.items():
                    atomic_write(path, data)
            return bool(manifests.files)

        # No environment's record says that a deployment made the model.
        mark: dict[str, Entry] = {MARK: Text(data=DEPLOYED.text())}
        work = begin(job, job.python_serving(options.mounted_at), mark, folders=[folder], reporter=reporter)
        done = finish(
            work, environment=job.environment.archive, path=options.mounted_at, place=place, reporter=reporter
        )
        findings = (
            (*done.findings, _no_image(job.manifest)) if job.manifest.release == PYTRITON else done.findings
        )
        overwritten = (*done.overwritten, *manifests.overwritten)
        return replace(done, findings=findings, overwritten=overwritten, manifests=tuple(files))


def _no_image(manifest: Manifest) -> lint.Finding:
    server = find_release(PYTRITON_IMAGE)
    return lint.Finding(
        id="no-image",
        level="warning",
        message=f"{PYTRITON} has no container image: the manifests name that of {server.name}, which loads Python "
        f"{', '.join(server.pythons)} and has glibc {server.glibc}; this environment has Python {manifest.python}",
        hint=f'for a cluster, build it with `triton: "{server.name}"` or later in the recipe',
    )
