"""The Python projects that conda packages contain: only the packages themselves say what is in them."""

from __future__ import annotations

import email
from collections.abc import Iterable

from packaging.utils import canonicalize_name

from envbuilder.base.conda_package import name_packages, read_package
from envbuilder.config.channels import Channel
from envbuilder.fetch.download import fetch_packages
from envbuilder.lockfile.model import CondaPackage
from envbuilder.store.session import Session


def find_projects(
    packages: Iterable[CondaPackage], minor: str, channels: tuple[Channel, ...], session: Session
) -> dict[str, bytes]:
    """Return the metadata of each Python project in *packages*, by its normalized name.

    The packages are fetched.

    Raises:
        FetchError, IntegrityError: one cannot be had.
        AssembleError: one is no conda package, or has what no package may have.
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
