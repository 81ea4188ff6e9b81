"""The Python projects that conda packages contain, read from the packages themselves."""

from __future__ import annotations

import email
from collections.abc import Iterable

from packaging.utils import canonicalize_name

from envbuilder.base.conda_package import name_packages, read_package
from envbuilder.config.channels import Channel
from envbuilder.fetch.artifacts import fetch_packages
from envbuilder.lockfile.model import CondaPackage
from envbuilder.store.session import Session


def find_projects(
    packages: Iterable[CondaPackage], minor: str, channels: tuple[Channel, ...], session: Session
) -> dict[str, bytes]:
    """Return the metadata of each Python project in *packages*, by its normalized name.

    The packages are fetched.

    Raises:
        FetchError, IntegrityError: one cannot be downloaded.
        AssembleError: one is not a conda package, or contains forbidden content.
    """
    paths = fetch_packages(packages, channels, session)
    found: dict[str, bytes] = {}
    with session.store.scratch("named") as folder:
        for package, path in name_packages(paths, folder).items():
            for metadata in read_package(package, path, minor, metadata=True).metadata:
                name = email.message_from_bytes(metadata)["Name"]
                if name:
                    found[canonicalize_name(name)] = metadata
    return found
