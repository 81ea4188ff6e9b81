"""The environments of deployed models, and what is inside each: read once, however many models have it."""

from __future__ import annotations

import os
from pathlib import Path

from envbuilder.archive.manifest import Manifest
from envbuilder.deployment.environments import environment_of
from envbuilder.errors import EnvbuilderError, IntegrityError
from envbuilder.fleet.repository.survey import Model
from envbuilder.inventory.components import Inventory, inventory_of, take_inventory
from envbuilder.inventory.read import Texts, texts_of_folder
from envbuilder.util.files import file_sha256


def place_of(model: Model) -> Path | EnvbuilderError | None:
    """Return where the environment of a deployed model is, or why it is not there; None: it has none."""
    if model.config is None or not model.environment:
        return None
    try:
        return environment_of(model.folder)
    except EnvbuilderError as error:
        return error


def inventory_at(place: Path) -> Inventory:
    """Return what is inside an archive, or an unpacked environment.

    Raises:
        IntegrityError: see :func:`envbuilder.inventory.components.take_inventory`.
    """
    if not place.is_dir():
        return take_inventory(place)
    paths = {
        os.path.relpath(os.path.join(folder, name), place): None
        for folder, _, names in os.walk(place)
        for name in names
    }
    return inventory_of(texts_of_folder(place, paths, sha256="0" * 64, size=disk_size(place)), place)


def inventory_said(manifest: Manifest, sha256: str, archive: str) -> Inventory:
    """Return what a manifest alone says of an archive: its packages, and libraries by their file names."""
    return inventory_of(Texts(sha256=sha256, size=0, files={}), Path(archive), manifest)


class Inventories:
    """Inventories by the sha256 of the archive: a copy in a model's folder is not read again."""

    def __init__(self) -> None:
        self._known: dict[str, Inventory | IntegrityError] = {}

    def of(self, place: Path) -> Inventory:
        """Return what is inside *place*.

        Raises:
            IntegrityError: it cannot be read.
        """
        try:
            key = str(place.resolve()) if place.is_dir() else file_sha256(place)
        except OSError as error:
            raise IntegrityError(f"{place} cannot be read: {error.strerror}") from error
        if key not in self._known:
            try:
                self._known[key] = inventory_at(place)
            except IntegrityError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, IntegrityError):
            raise found
        return found


def disk_size(path: Path) -> int:
    """Return how many bytes the files at *path* take, a file with several names once."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    seen: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(path):
        for name in names:
            found = os.lstat(os.path.join(folder, name))
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())
