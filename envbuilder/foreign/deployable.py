"""Decide whether an environment that another tool packed can be deployed: what no release loads is refused."""

from __future__ import annotations

from pathlib import Path

from envbuilder.catalog.triton import find_release
from envbuilder.errors import DeployError
from envbuilder.foreign.measured import MeasuredManifest, activated_folder, measure
from envbuilder.foreign.survey import is_foreign, survey


def describe_foreign(archive: Path) -> MeasuredManifest | None:
    """Derive a manifest for *archive*, which has none.

    The result is None if it is not a Python environment, or was built by this tool.

    Raises:
        DeployError: Triton would not load it, or only on the machine where it was made.
        IntegrityError: it cannot be read to its end.
    """
    found = survey(archive)
    if not is_foreign(found.members):
        return None
    if found.around:
        raise DeployError(
            f"{archive}: everything is in the folder {found.around}/: Triton expects bin/activate at the top level",
            hint=f"`tar -xf {archive.name}`, then `tar -C {found.around} -czf NAME.tar.gz .`",
        )
    if "bin/activate" not in found.members:
        raise DeployError(
            f"{archive} has no bin/activate: Triton requires it in an execution environment",
            hint="pack it with conda-pack, which writes it: `conda-pack --prefix ENV --output NAME.tar.gz`",
        )
    manifest = measure(found, where=str(archive))
    named = activated_folder(found.texts)
    if named is not None and find_release(manifest.release).launch == "sourced":
        raise DeployError(
            f"{archive}: its bin/activate sets the folder {named}: {manifest.release} sources it, and would use "
            "the packages of that folder, if it exists",
            hint="create the venv with `uv venv --relocatable`, which sets no folder; or pack a conda environment "
            "with conda-pack",
        )
    return manifest
